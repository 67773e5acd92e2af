"""What a run writes to the terminal or shows in a notebook while it trains."""

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxgen._streams import discard_output


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class _Quiet:
    """Whether another process of the run says everything."""

    on = False


def be_quiet() -> None:
    """Leaves all that a run says to another process."""
    _Quiet.on = True


def say(text: str) -> None:
    """Writes one line to standard output, without disturbing the progress bar.

    Where standard output is closed (`| head -n 1`), the run continues without it.
    """
    stream = sys.stdout
    if stream is None or _Quiet.on:
        return
    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except BrokenPipeError:
        discard_output()


def progress_bar(total: int, initial: int) -> Any:
    """A bar over epochs: a widget in a notebook, text on a terminal, nothing elsewhere."""
    options: dict[str, Any] = {"total": total, "initial": initial, "unit": "epoch"}
    if in_notebook():
        with warnings.catch_warnings(action="ignore"):  # without ipywidgets it is a text bar
            from tqdm.auto import tqdm as notebook_tqdm
        return notebook_tqdm(**options)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(**options, disable=_Quiet.on or not on_terminal, dynamic_ncols=True)


class Display:
    """Shows pictures in a notebook, each name in one place; does nothing elsewhere."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def show(self, name: str, path: Path) -> None:
        """Shows a PNG file, in the place of an earlier one of this name."""
        if not in_notebook():
            return
        from IPython.display import Image, display  # pyright: ignore[reportMissingImports]

        picture = Image(filename=str(path))
        if name in self._handles:
            self._handles[name].update(picture)
        else:
            self._handles[name] = display(picture, display_id=True)

    def show_all(self, paths: Iterable[Path]) -> None:
        """Shows several pictures, each under its file's name."""
        for path in paths:
            self.show(path.name, path)
