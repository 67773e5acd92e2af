"""An empty plot, and a plot as a PNG file.

Each plot has a canvas of its own, not pyplot's: no display and no global state.
"""

import os
from typing import TYPE_CHECKING

from jaxgen._files import writing
from jaxgen._matplotlib import import_matplotlib
from jaxgen.visualization._colors import LINE_COLORS

if TYPE_CHECKING:  # matplotlib takes most of a second to import, so functions import it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK = "0.2"  # dark grey: ticks and labels
MINUS = "\N{MINUS SIGN}"  # as in matplotlib's tick labels


def new_figure(
    size: tuple[float, float], title: str, x_label: str, y_label: str
) -> tuple["Figure", "Axes"]:
    """An empty plot with labelled axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=LINE_COLORS)
    axes.set_title(title, loc="left", fontsize=11, weight="bold", color=INK)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.7")
    axes.tick_params(color="0.7", labelcolor=INK)
    axes.set_axisbelow(True)
    return figure, axes


def new_epochs_figure(title: str, x_label: str, y_label: str) -> tuple["Figure", "Axes"]:
    """An empty plot over epochs, whose ticks are whole numbers, with a grid."""
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure((6.4, 4.0), title, x_label, y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.9", linewidth=0.8)
    return figure, axes


def write(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Writes a PNG file."""
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
