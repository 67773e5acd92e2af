"""Curves and points over several runs: means, with their standard deviation as bands or bars."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgen._matplotlib import import_matplotlib
from jaxgen.visualization._colors import LINE_COLORS, class_colors
from jaxgen.visualization._figures import INK, MINUS, new_epochs_figure, new_figure, write


def bands(
    path: str | os.PathLike[str],
    series: Mapping[str, ArrayLike],
    x_label: str = "epoch",
    y_label: str = "",
    title: str = "",
) -> None:
    """Plots mean ± standard deviation over runs as a curve with a band, over epochs 1, 2, ...

    Args:
      path: PNG file.
      series: name -> [runs, epochs]; values that are not finite do not count.
      x_label: label of the x axis.
      y_label: label of the y axis with its unit.
      title: above the plot.
    """
    figure, axes = new_epochs_figure(title, x_label, y_label)
    colors = LINE_COLORS if len(series) <= len(LINE_COLORS) else class_colors(len(series))
    for (name, values), color in zip(series.items(), colors, strict=False):
        mean, deviation = mean_and_deviation(values)
        epochs = np.arange(1, len(mean) + 1)
        last = f"{mean[-1]:#.5g} ± {deviation[-1]:.2g}".replace("-", MINUS)
        style: dict[str, Any] = {"linewidth": 1.8, "marker": "o", "ms": 3.5, "color": color}
        axes.plot(epochs, mean, label=f"{name}: {last}", **style)
        axes.fill_between(epochs, mean - deviation, mean + deviation, alpha=0.2, color=color, lw=0)
    if len(series) <= len(LINE_COLORS):
        axes.legend(frameon=False)
    else:
        figure.legend(loc="outside right center", frameon=False, fontsize=7)
    write(figure, path)


def mean_and_deviation(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (N − 1 in the denominator) over the first axis.

    Values that are not finite do not count. The deviation of a single value is 0; without any, both
    are NaN.

    Args:
      values: [N, ...].

    Returns:
      Two arrays [...].
    """
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    count = known.sum(axis=0)
    total = np.where(known, given, 0).sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    squares = (np.where(known, given - mean, 0) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / np.maximum(count - 1, 1))
    return mean, np.where(count > 0, deviation, np.nan)


def error_bars(
    path: str | os.PathLike[str],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    x_label: str,
    y_label: str,
    title: str = "",
) -> None:
    """Plots named points with standard deviations in both directions, joined in their order.

    Args:
      path: PNG file.
      points: name -> (x over runs [N], y over runs [N]).
      x_label: label of the x axis with its unit.
      y_label: label of the y axis with its unit.
      title: above the plot.
    """
    import_matplotlib()
    figure, axes = new_figure((6.4, 4.4), title, x_label, y_label)
    found = [[mean_and_deviation(values) for values in both] for both in points.values()]
    (x, x_error), (y, y_error) = (np.array([both[i] for both in found]).T for i in (0, 1))
    axes.errorbar(x, y, y_error, x_error, color=LINE_COLORS[0], marker="o", ms=4, capsize=2, lw=1.2)
    for name, across, up in zip(points, x, y, strict=True):
        if np.isfinite(across) and np.isfinite(up):
            axes.annotate(
                name, (across, up), (5, 5), textcoords="offset points", fontsize=8, color=INK
            )
    axes.grid(color="0.9", linewidth=0.8)
    write(figure, path)
