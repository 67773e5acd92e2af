"""The command line, one module per command.

A command is a dataclass: its fields are the flags, its docstring is the text of --help, and its
method `run` does the work. What takes long to import is imported there, so that --help is quick.
"""

import importlib
import sys
from typing import Any

from jaxgen._process import command, importing


def main() -> None:
    """Runs the command that the process was started with; `jaxgen` and `python -m jaxgen`."""
    command(lambda: run(sys.argv[1:]))


def run(words: list[str]) -> None:
    """Runs one command.

    Raises:
      UserError: what it was asked for cannot be had.
      SystemExit: after --help, and where a flag is unknown or ill-typed.
    """
    import tyro

    from jaxgen._commands.convert import Convert
    from jaxgen._commands.evaluate import Evaluate
    from jaxgen._commands.explore import Explore
    from jaxgen._commands.report import Report
    from jaxgen._commands.sample import Sample
    from jaxgen._commands.train import Train
    from jaxgen._commands.versions import Versions

    words, flags_of_system = (words[:2], words[2:]) if words[:1] == ["train"] else (words, [])
    chosen: Any = tyro.cli(
        Train | Sample | Evaluate | Report | Explore | Convert | Versions,  # pyright: ignore[reportArgumentType, reportCallIssue]
        prog="jaxgen",
        description="Trains generative image models, and uses what they have learned.",
        args=words,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    if not isinstance(chosen, Versions):
        with importing():  # what all the others need
            importlib.import_module("jaxgen.runs")
    if isinstance(chosen, Train):
        chosen.run(flags_of_system)
    else:
        chosen.run()
