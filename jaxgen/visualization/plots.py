"""Curves, bars and scatter plots, drawn by matplotlib and written to PNG files.

Each function uses a separate canvas, not pyplot: no display and no global state.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgen._matplotlib import import_matplotlib
from jaxgen.visualization._colors import LINE_COLORS, class_colors
from jaxgen.visualization._figures import INK, MINUS, new_epochs_figure, new_figure, write

BAR_COLORS = (LINE_COLORS[0], "0.75", *LINE_COLORS[1:])


def curves(
    path: str | os.PathLike[str],
    series: Mapping[str, ArrayLike],
    x_label: str = "epoch",
    y_label: str = "",
    title: str = "",
) -> None:
    """Plots curves over epochs 1, 2, ...; the legend shows the last value of each.

    Args:
      path: PNG file.
      series: name -> one value per epoch; values that are not finite leave a gap.
      x_label: label of the x axis.
      y_label: label of the y axis with its unit, like "ELBO (nats per image)".
      title: above the plot.
    """
    figure, axes = new_epochs_figure(title, x_label, y_label)
    for name, values in series.items():
        heights = np.asarray(values, np.float64)
        known = heights[np.isfinite(heights)]
        last = f"{known[-1]:#.5g}".replace("-", MINUS) if len(known) else "no finite value"
        epochs = np.arange(1, len(heights) + 1)
        # Markers show single values, which have no line.
        axes.plot(epochs, heights, label=f"{name}: {last}", linewidth=1.8, marker="o", ms=3.5)
    axes.legend(frameon=False)
    write(figure, path)


def bars(
    path: str | os.PathLike[str],
    series: Mapping[str, ArrayLike],
    x_label: str = "",
    y_label: str = "",
    title: str = "",
) -> None:
    """Plots numbered bars, one colour per series; bars at the same place are stacked.

    Args:
      path: PNG file.
      series: name -> one height per place.
      x_label: label of the x axis.
      y_label: label of the y axis with its unit.
      title: above the plot.
    """
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure((6.4, 4.0), title, x_label, y_label)
    below = np.zeros(())
    for (name, values), color in zip(series.items(), BAR_COLORS, strict=False):
        heights = np.asarray(values, np.float64)
        axes.bar(np.arange(1, len(heights) + 1), heights, bottom=below, label=name, color=color)
        below = below + heights
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.legend(frameon=False)
    write(figure, path)


def scatter(
    path: str | os.PathLike[str],
    points: ArrayLike,
    labels: ArrayLike | None = None,
    title: str = "",
    x_label: str = "component 1",
    y_label: str = "component 2",
) -> None:
    """Plots points in two dimensions, coloured by label, with a legend.

    Args:
      path: PNG file.
      points: [N, 2].
      labels: integers [N], or None for one colour. Up to 20 labels are named at the median of their
        points and in a legend; more have a colour bar.
      title: above the plot.
      x_label: name of points[:, 0].
      y_label: name of points[:, 1].

    Raises:
      ValueError: points are not [N, 2], or labels are not [N].
    """
    import_matplotlib()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patheffects import withStroke

    places = np.asarray(points, np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"expected points [N, 2], got {list(places.shape)}")
    figure, axes = new_figure((6.4, 5.6), title, x_label, y_label)
    style: dict[str, Any] = {"s": min(36.0, 12 + 4e4 / max(len(places), 1) ** 1.2)}
    style |= {"linewidths": 0, "alpha": 0.6}
    axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(places[:, 0], places[:, 1], color=LINE_COLORS[0], **style)
        return write(figure, path)
    classes = np.asarray(labels)
    if classes.shape != places.shape[:1]:
        raise ValueError(f"{len(places)} points need labels [{len(places)}], got {classes.shape}")
    names, index = np.unique(classes, return_inverse=True)
    palette = ListedColormap(class_colors(len(names)))
    # In random order, because in order of labels the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(places))
    axes.scatter(*places[order].T, color=palette(index[order]), **style)
    if len(names) > 20:
        scale = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
        ticks = np.unique(np.linspace(0, len(names) - 1, 11).round().astype(int))
        bar = figure.colorbar(ScalarMappable(scale, palette), ax=axes, ticks=ticks, aspect=40)
        bar.ax.set_yticklabels(names[ticks])
        return write(figure, path)
    for n, name in enumerate(names):
        x, y = np.median(places[index == n], axis=0)
        halo = withStroke(linewidth=3, foreground="white")
        text = axes.text(x, y, str(name), color=INK, path_effects=[halo])
        text.set(ha="center", va="center", fontsize=14, weight="bold")
    handles = [axes.scatter([], [], color=palette(n), s=36) for n in range(len(names))]
    figure.legend(handles, map(str, names), loc="outside right center", frameon=False)
    write(figure, path)


def principal_components(latents: ArrayLike, num_components: int = 2) -> np.ndarray:
    """Coordinates along the directions of largest variance: (x - mean(x)) V, x - mean(x) = U S Vᵀ.

    The sign of a direction is arbitrary: here its entry of largest magnitude is positive.

    Args:
      latents: [N, D].
      num_components: directions, the one of largest variance first.

    Returns:
      float64 [N, num_components]; zeros beyond the rank that N and D allow.
    """
    values = np.asarray(latents, np.float64)
    centred = values - values.mean(axis=0, keepdims=True)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:num_components]
    largest = np.abs(directions).argmax(axis=1, keepdims=True)
    directions = directions * np.sign(np.take_along_axis(directions, largest, axis=1))
    coordinates = centred @ directions.T
    return np.pad(coordinates, ((0, 0), (0, num_components - coordinates.shape[1])))
