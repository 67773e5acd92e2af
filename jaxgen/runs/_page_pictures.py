"""The pictures in the folder of a run, for its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from jaxgen.runs.workdir import OF_EPOCH
from jaxgen.visualization.report import MAX_PER_SERIES, Figure, Series, spread

SUFFIXES = (".png", ".gif", ".webp")
MAX_FIGURE_BYTES = 3 * 10**6  # a larger animation stays in images/


def pictures_of(
    folder: Path, history: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Series], list[Figure]]:
    """Pictures by epoch, and those of the whole run."""
    metrics = {name.partition("/")[2] for record in history for name in record}
    by_epoch: dict[str, dict[int, Path]] = {}
    of_run = []
    for path in sorted((folder / "images").glob("[!.]*")):
        if path.suffix not in SUFFIXES or path.stat().st_size > MAX_FIGURE_BYTES:
            continue
        if path.suffix == ".gif" and path.with_suffix(".webp").exists():
            continue  # the same animation, larger
        if epoch := OF_EPOCH.search(path.name):
            name = _words(path.stem[: epoch.start()])
            by_epoch.setdefault(name, {})[int(epoch[1])] = path
        elif path.stem not in metrics:  # whose curves the page draws itself
            of_run.append(path)
    series = {}
    for name, paths in by_epoch.items():
        epochs = sorted(paths)
        chosen = [epochs[n] for n in spread(len(epochs), MAX_PER_SERIES)]
        shown = [figure_of(paths[epoch], name, epoch) for epoch in chosen]
        series[name] = Series([figure for figure in shown if figure], len(epochs))
    figures = [figure_of(path, _words(path.stem)) for path in of_run]
    return series, [figure for figure in figures if figure]


def figure_of(path: Path, name: str, epoch: int | None = None) -> Figure | None:
    """A picture; None where the file is missing or holds none."""
    try:
        with Image.open(path) as image:
            # matplotlib signs its files.
            drawn = str(image.info.get("Software", "")).startswith("Matplotlib")
        return Figure(name, path.read_bytes(), epoch, drawn)
    except OSError:
        return None


def _words(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")
