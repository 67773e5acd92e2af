"""The parts that the page of a run and the page of several have in common."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from jaxgen.visualization._pages import data_address, text

FIGURE_WIDTH = 640  # pixels that small pictures are enlarged to
KINDS = {b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}


class Figure(NamedTuple):
    """A picture in a page.

    Attributes:
      name: what it shows, in words.
      content: of a PNG, GIF or WebP file.
      epoch: after which it was made, or None.
      drawn: whether it is a drawing, which may be scaled smoothly; pixels of a model may not.
    """

    name: str
    content: bytes
    epoch: int | None = None
    drawn: bool = False

    @property
    def moves(self) -> bool:
        """Whether it is an animation."""
        with Image.open(io.BytesIO(self.content)) as image:
            return getattr(image, "is_animated", False)


class Chart(NamedTuple):
    """Curves over one axis.

    Attributes:
      title: what is shown.
      x: positions, in rising order.
      series: name -> values at x, None where there is none.
      x_label: what x counts.
      y_label: unit.
    """

    title: str
    x: Sequence[float]
    series: Mapping[str, Sequence[float | None]]
    x_label: str = "epoch"
    y_label: str = ""


def section(name: str, heading: str, *content: str, wide: bool = False) -> str:
    """A section with a heading, half as wide as the page or wide; nothing without content."""
    inner = "\n".join(part for part in content if part)
    if not inner:
        return ""
    return (
        f'<section aria-labelledby="{name}"{" class=wide" if wide else ""}>'
        f'<h2 id="{name}">{text(heading)}</h2>{inner}</section>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """A table; the first cell of a row names it.

    Args:
      head: titles of the columns, or none.
      rows: of as many cells.
      caption: what it holds.
    """
    body = []
    for first, *others in rows:
        cells = "".join(_cell(value) for value in others)
        body.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    titles = "".join(f'<th scope="col">{text(title)}</th>' for title in head)
    above = f"<thead><tr>{titles}</tr></thead>" if head else ""
    # Wide tables scroll by themselves, so a keyboard has to reach them.
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption>{above}<tbody>{''.join(body)}</tbody></table></div>"
    )


def short(value: object) -> str:
    """A value for a table: numbers to five digits, lists and mappings as JSON."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return str(value)


def figure(shown: Figure) -> str:
    """A picture with its name below; pixels of a model are enlarged by a whole number."""
    epoch = "" if shown.epoch is None else f' data-epoch="{shown.epoch}"'
    name = shown.name if shown.epoch is None else f"{shown.name} after epoch {shown.epoch}"
    kind = next(k for start, k in KINDS.items() if shown.content.startswith(start))
    address = data_address(shown.content, kind)
    with Image.open(io.BytesIO(shown.content)) as image:
        width, height = image.size
    look = ' class="smooth"'
    if not shown.drawn:
        factor = max(1, FIGURE_WIDTH // width)
        look = f' width="{factor * width}" height="{factor * height}"'
    return (
        f'<figure{epoch}><img{look} alt="{text(name)}" src="{address}">'
        f"<figcaption>{text(name)}</figcaption></figure>"
    )


def charts(drawn: Sequence[Chart]) -> str:
    """Places for the charts, which report.js draws."""
    if not drawn:
        return ""
    places = "".join(
        f'<div class="chart"><h3>{text(chart.title)}</h3>'
        f'<div class="plot" role="img" aria-label="{text(_in_words(chart))}"></div></div>'
        for chart in drawn
    )
    return (
        '<p id="curve-controls" hidden><label><input type="checkbox" id="logarithmic"> '
        "logarithmic scale</label></p>"
        "<noscript><p>The curves need JavaScript; their values are in the table of all epochs."
        f'</p></noscript><div class="charts">{places}</div>'
    )


def chart_data(drawn: Sequence[Chart]) -> list[dict[str, Any]]:
    """What report.js draws them from."""
    return [
        {
            "x": list(chart.x),
            "xLabel": chart.x_label,
            "yLabel": chart.y_label,
            "series": [
                {"name": name, "values": [_finite(value) for value in values]}
                for name, values in chart.series.items()
            ],
        }
        for chart in drawn
    ]


def spread(count: int, most: int) -> list[int]:
    """At most `most` numbers below `count`, evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return sorted({round(n * (count - 1) / (most - 1)) for n in range(most)})


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"<td{' class=number' if number else ''}>{text(short(value))}</td>"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _in_words(chart: Chart) -> str:
    parts = []
    for name, values in chart.series.items():
        known = [value for value in map(_finite, values) if value is not None]
        if known:
            parts.append(f"{name} from {short(float(known[0]))} to {short(float(known[-1]))}")
    return f"{chart.title} over {chart.x_label}s: {', '.join(parts)}"
