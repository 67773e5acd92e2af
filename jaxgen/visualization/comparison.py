"""The page that compares several runs: `comparison_page`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxgen.visualization._pages import page, text
from jaxgen.visualization._report_parts import (
    Chart,
    Figure,
    chart_data,
    charts,
    figure,
    section,
    short,
    table,
)
from jaxgen.visualization.report import SCRIPTS, STYLES

ABSENT = "\N{EM DASH}"


class Compared(NamedTuple):
    """One run of a comparison.

    Attributes:
      name: of the run, different from the others'.
      configuration: name -> value.
      history: one record per epoch, as in metrics.jsonl.
      samples: decoded from the same latents as the others' of its latent size, or None.
      latent_size: of those latents.
    """

    name: str
    configuration: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    samples: Figure | None
    latent_size: int


def comparison_page(runs: Sequence[Compared], units: Mapping[str, str]) -> str:
    """The page as one HTML file that needs neither network nor server.

    Args:
      runs: at least two.
      units: metric without its split -> unit.
    """
    title = f"Comparison of {len(runs)} runs"
    drawn = shared_charts(runs, units)
    body = "\n".join(
        [
            f"<header><h1>{text(title)}</h1></header><main>",
            section("differences", "Differences in configuration", _differences(runs), wide=True),
            section("results", "Results", _results(runs, units), wide=True),
            section("curves-heading", "Curves", charts(drawn), wide=True),
            section("samples", "Samples from the same latents", _samples(runs), wide=True),
            "</main>",
        ]
    )
    data = {"curves": chart_data(drawn)} if drawn else {}
    return page(title, body, styles=STYLES, scripts=SCRIPTS, data=data)


def shared_charts(runs: Sequence[Compared], units: Mapping[str, str]) -> list[Chart]:
    """A chart for each metric that any run has, a curve for each run that has it."""
    metrics = dict.fromkeys(
        name for run in runs for record in run.history for name in record if "/" in name
    )
    epochs = sorted({record["epoch"] for run in runs for record in run.history})
    found = []
    for metric in metrics:
        series = {}
        for run in runs:
            values = {record["epoch"]: record.get(metric) for record in run.history}
            if any(value is not None for value in values.values()):
                series[run.name] = [values.get(epoch) for epoch in epochs]
        unit = units.get(metric.partition("/")[2], "")
        found.append(Chart(metric, epochs, series, y_label=unit))
    return found


def _differences(runs: Sequence[Compared]) -> str:
    names = dict.fromkeys(name for run in runs for name in run.configuration)
    rows = []
    for name in names:
        values = [
            short(run.configuration[name]) if name in run.configuration else ABSENT for run in runs
        ]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if not rows:
        return "<p>The configurations are the same.</p>"
    return table(("name", *(run.name for run in runs)), rows, "What differs")


def _results(runs: Sequence[Compared], units: Mapping[str, str]) -> str:
    last = [run.history[-1] if run.history else {} for run in runs]
    metrics = dict.fromkeys(name for record in last for name in record if "/" in name)
    rows: list[list[object]] = [["epochs", *(record.get("epoch", 0) for record in last)]]
    for metric in metrics:
        unit = units.get(metric.partition("/")[2])
        name = f"{metric} ({unit})" if unit else metric
        rows.append([name, *(record.get(metric, ABSENT) for record in last)])
    return table(("metric", *(run.name for run in runs)), rows, "After the last epoch")


def _samples(runs: Sequence[Compared]) -> str:
    """Samples side by side, for each latent size that two runs or more share."""
    groups: dict[int, list[Figure]] = {}
    for run in runs:
        if run.samples is not None:
            groups.setdefault(run.latent_size, []).append(run.samples)
    return "".join(
        f"<h3>{size} latent dimensions</h3>"
        f'<div class="figures">{"".join(map(figure, figures))}</div>'
        for size, figures in groups.items()
        if len(figures) > 1
    )
