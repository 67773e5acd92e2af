"""The pictures in the page of a run: those of epochs, thinned until they fit, and those of all."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxgen.visualization._pages import text
from jaxgen.visualization._report_parts import Figure, figure, spread

MAX_FIGURE_BYTES = 6 * 10**6  # 8 MB of a page's 10, in base64
MAX_PER_SERIES = 40


class Series(NamedTuple):
    """Pictures of one kind.

    Attributes:
      figures: in the order of their epochs.
      available: how many there are; those of `figures` are spread evenly over them.
    """

    figures: Sequence[Figure]
    available: int


def series_that_fit(series: Mapping[str, Series], other_bytes: int) -> str:
    """Each series of pictures as figures, which report.js shows one at a time.

    Args:
      series: by name.
      other_bytes: what other pictures of the page take.
    """
    most = MAX_PER_SERIES
    while True:
        kept = {
            name: [figures[n] for n in spread(len(figures), most)]
            for name, (figures, _) in series.items()
        }
        total = sum(len(shown.content) for figures in kept.values() for shown in figures)
        if total + other_bytes <= MAX_FIGURE_BYTES or most == 1:
            break
        most = (most + 1) // 2
    parts = [
        _one_series(n, name, figures, series[name].available)
        for n, (name, figures) in enumerate(kept.items())
    ]
    return "".join(parts)


def _one_series(number: int, name: str, figures: Sequence[Figure], count: int) -> str:
    note = ""
    if len(figures) < count:
        note = f"<p>{len(figures)} of the {count} pictures, evenly spread over the run.</p>"
    return (
        f'<h3>{text(name.capitalize())}</h3>{note}<div class="series" id="series-{number}" '
        f'data-name="{text(name)}" tabindex="0" role="group" aria-label="{text(name)}">'
        f"{''.join(map(figure, figures))}</div>"
    )


def animations(figures: Sequence[Figure]) -> str:
    """Those that move, each of which can be closed."""
    return "".join(
        f"<details open><summary>{text(shown.name.capitalize())}</summary>{figure(shown)}</details>"
        for shown in figures
        if shown.moves
    )


def stills(figures: Sequence[Figure]) -> str:
    """Those that do not."""
    still = "".join(figure(shown) for shown in figures if not shown.moves)
    return f'<div class="figures">{still}</div>' if still else ""
