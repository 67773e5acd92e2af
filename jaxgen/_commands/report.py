"""`jaxgen report WORKDIR...`."""

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class Report:
    """Writes the page of a run, or one page that compares several runs.

    Attributes:
      workdirs: folders of runs; of several runs one page compares them.
      output: where the page goes (default: report.html in the folder of the run, or
        comparison.html here).
    """

    workdirs: tyro.conf.Positional[tuple[Path, ...]]
    output: Path | None = None

    def run(self) -> None:
        """Writes the page."""
        from jaxgen._commands.comparing import comparison
        from jaxgen._commands.pages import write_page
        from jaxgen._files import expanded
        from jaxgen.errors import UserError
        from jaxgen.runs.reports import NAME, report_of
        from jaxgen.visualization.report import report_page

        folders = [expanded(folder) for folder in self.workdirs]
        if not folders:
            raise UserError("expected the folder of a run, got none: name one")
        if len(folders) == 1:
            content, default = report_page(report_of(folders[0])), folders[0] / NAME
        else:
            content, default = comparison(folders), Path("comparison.html")
        write_page(self.output or default, content)
