"""Pictures as arrays (grids, pairs, collages, curves, maps), and their way into PNG files.

Images are [N, H, W, C], uint8 or floats in [0, 1], with one channel (grey) or three (RGB); pictures
are uint8 [H, W, C]. What comes as pixels stays pixels: nothing is resampled or smoothed, so a file
shows exactly what a model gave.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:  # matplotlib takes most of a second to import: only who plots pays for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHITE = 255
INK = 51  # dark grey: captions, ticks and labels
CAPTION_SIZE = 14
MIN_CAPTION_SIZE = 8
MIN_CELL = 96  # pixels that a captioned image is enlarged to, so that its caption has room
DPI = 150
MINUS = "\N{MINUS SIGN}"  # what matplotlib writes at its ticks


def grid(images: ArrayLike, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Images side by side on white, row by row.

    Args:
      images: [N, H, W, C], uint8 or floats in [0, 1].
      columns: images in a row; by default near-square, without a gap at the end where N allows.
      padding: white pixels between images and around them.

    Returns:
      uint8 [rows * (H + padding) + padding, columns * (W + padding) + padding, C].

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
    """
    cells = _as_bytes(images)
    columns = columns or _columns(len(cells), len(cells))
    return _frame(_tile(cells, columns, padding), padding)


def pairs(
    originals: ArrayLike, reconstructions: ArrayLike, columns: int | None = None, padding: int = 2
) -> np.ndarray:
    """Each original with its reconstruction directly below, pairs set apart by a wider gap.

    Args:
      originals: [N, H, W, C], uint8 or floats in [0, 1].
      reconstructions: the same shape; [n] belongs to originals[n].
      columns: pairs in a row; by default one row up to ten pairs, near-square beyond.
      padding: white pixels around images; original and reconstruction touch.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: different shapes, values outside [0, 1] or NaN.
    """
    above, below = _as_bytes(originals), _as_bytes(reconstructions)
    if above.shape != below.shape:
        raise ValueError(
            f"originals {above.shape} and reconstructions {below.shape} must have one shape"
        )
    if columns is None:
        columns = len(above) if len(above) <= 10 else _columns(2 * len(above), len(above))
    couples = np.concatenate([above, below], axis=1)
    return _frame(_tile(couples, columns, padding, 4 * padding), padding)


def captioned(images: ArrayLike, captions: Sequence[str], columns: int | None = None) -> np.ndarray:
    """A collage with a caption below each image, images enlarged until captions have room.

    Args:
      images: [N, H, W, C], uint8 or floats in [0, 1].
      captions: N short texts; a long one is set smaller, then clipped.
      columns: images in a row; near-square by default.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: another number of captions than images, values outside [0, 1] or NaN.
    """
    cells = _as_bytes(images)
    if len(captions) != len(cells):
        raise ValueError(f"{len(cells)} images need as many captions, got {len(captions)}")
    factor = math.ceil(MIN_CELL / min(cells.shape[1:3]))
    cells = np.stack([enlarge(cell, factor) for cell in cells])
    labels = [_caption(text, cells.shape[2], cells.shape[3]) for text in captions]
    labelled = np.concatenate([cells, np.stack(labels)], axis=1)
    columns = columns or _columns(len(cells), len(cells))
    return _frame(_tile(labelled, columns, padding=10), padding=10)


def enlarge(image: ArrayLike, factor: int) -> np.ndarray:
    """Every pixel as a factor x factor square, without smoothing: [H, W, C] -> [fH, fW, C]."""
    return np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1)


def save(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Writes one image [H, W, C] as PNG, pixel for pixel; the file appears whole or not at all.

    Args:
      path: its parent folder is made where it is missing.
      image: uint8 or floats in [0, 1].

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
    """
    pixels = _as_bytes(np.asarray(image)[None])[0]
    with _replacing(path) as temporary:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            temporary, format="PNG"
        )


def animation(path: str | os.PathLike[str], frames: ArrayLike, seconds: float = 8.0) -> None:
    """Writes frames as an animated picture that starts over and over, its last frame held.

    Grey frames become a GIF, which every viewer plays; RGB ones an animated PNG, because a GIF
    would leave 256 colours. Neither changes a pixel.

    Args:
      path: without its suffix, which is .gif or .png.
      frames: [N, H, W, C], uint8 or floats in [0, 1].
      seconds: of one round, but for the last frame, which stays a second longer.

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
    """
    pixels = _as_bytes(frames)
    grey = pixels.shape[-1] == 1
    pictures = [Image.fromarray(frame.squeeze(-1) if grey else frame) for frame in pixels]
    each = max(20, round(1000 * seconds / len(pictures)))  # viewers do not show less than 20 ms
    durations = [each] * (len(pictures) - 1) + [each + 1000]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": 0}
    kind, suffix = ("GIF", ".gif") if grey else ("PNG", ".png")
    with _replacing(Path(path).with_suffix(suffix)) as temporary:
        pictures[0].save(temporary, format=kind, duration=durations, **options)


def curves(
    path: str | os.PathLike[str],
    series: Mapping[str, ArrayLike],
    x_label: str = "epoch",
    y_label: str = "",
    title: str = "",
) -> None:
    """Draws curves over epochs 1, 2, ...; the legend gives each one's last value.

    Args:
      path: PNG file.
      series: name -> one value an epoch; what is not finite leaves a gap.
      x_label: what is counted.
      y_label: what is shown, with its unit, like "ELBO (nats per image)".
      title: above the plot.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure((6.4, 4.0), title, x_label, y_label)
    for name, values in series.items():
        heights = np.asarray(values, np.float64)
        known = heights[np.isfinite(heights)]
        last = f"{known[-1]:#.5g}".replace("-", MINUS) if len(known) else "no finite value"
        epochs = np.arange(1, len(heights) + 1)
        # Markers keep a value visible that has no neighbour to draw a line to.
        axes.plot(epochs, heights, label=f"{name}: {last}", linewidth=1.8, marker="o", ms=3.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="0.9", linewidth=0.8)
    axes.legend(frameon=False)
    _write(figure, path)


def bars(
    path: str | os.PathLike[str],
    series: Mapping[str, ArrayLike],
    x_label: str = "",
    y_label: str = "",
    title: str = "",
) -> None:
    """Draws numbered bars, each series in its colour, at the same places.

    Args:
      path: PNG file.
      series: name -> one height a place; where two series are not 0, they stand upon each other.
      x_label: what the places are.
      y_label: what the heights are, with their unit.
      title: above the plot.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure((6.4, 4.0), title, x_label, y_label)
    below = np.zeros(())
    for (name, values), color in zip(series.items(), ("C0", "0.75", "C1", "C2"), strict=False):
        heights = np.asarray(values, np.float64)
        axes.bar(np.arange(1, len(heights) + 1), heights, bottom=below, label=name, color=color)
        below = below + heights
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.legend(frameon=False)
    _write(figure, path)


def scatter(
    path: str | os.PathLike[str],
    points: ArrayLike,
    labels: ArrayLike | None = None,
    title: str = "",
    x_label: str = "component 1",
    y_label: str = "component 2",
) -> None:
    """Draws a map of points, coloured by label, with a legend.

    Args:
      path: PNG file.
      points: [N, 2].
      labels: integers [N], or None for one colour. Up to 20 are named at the median of their points
        and in a legend, more have a colour bar.
      title: above the plot.
      x_label: name of points[:, 0].
      y_label: name of points[:, 1].

    Raises:
      ValueError: points of another shape, or another number of labels.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patheffects import withStroke

    places = np.asarray(points, np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"expected points [N, 2], got {list(places.shape)}")
    figure, axes = _figure((6.4, 5.6), title, x_label, y_label)
    style: dict[str, Any] = {"s": min(36.0, 12 + 4e4 / max(len(places), 1) ** 1.2)}
    style |= {"linewidths": 0, "alpha": 0.6}
    axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(places[:, 0], places[:, 1], color=colormaps["tab10"](0), **style)
        return _write(figure, path)
    classes = np.asarray(labels)
    if classes.shape != places.shape[:1]:
        raise ValueError(f"{len(places)} points need labels [{len(places)}], got {classes.shape}")
    names, index = np.unique(classes, return_inverse=True)
    palette = colormaps["tab10"] if len(names) <= 10 else colormaps["turbo"].resampled(len(names))
    # In random order: drawn class by class, the last one would cover the others.
    order = np.random.default_rng(0).permutation(len(places))
    axes.scatter(*places[order].T, color=palette(index[order]), **style)
    if len(names) > 20:
        scale = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
        ticks = np.unique(np.linspace(0, len(names) - 1, 11).round().astype(int))
        bar = figure.colorbar(ScalarMappable(scale, palette), ax=axes, ticks=ticks, aspect=40)
        bar.ax.set_yticklabels(names[ticks])
        return _write(figure, path)
    for n, name in enumerate(names):
        x, y = np.median(places[index == n], axis=0)
        halo = withStroke(linewidth=3, foreground="white")
        text = axes.text(x, y, str(name), color=palette(n), path_effects=[halo])
        text.set(ha="center", va="center", fontsize=14, weight="bold")
    handles = [axes.scatter([], [], color=palette(n), s=36) for n in range(len(names))]
    figure.legend(handles, map(str, names), loc="outside right center", frameon=False)
    _write(figure, path)


def principal_components(latents: ArrayLike, num_components: int = 2) -> np.ndarray:
    """Coordinates along the directions of largest variance: (x - mean(x)) V, x - mean(x) = U S Vᵀ.

    The sign of a direction is free: here its entry of largest magnitude is positive.

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


def _as_bytes(images: ArrayLike) -> np.ndarray:
    """Checks images and gives them as uint8 [N, H, W, C]."""
    values = np.asarray(images)
    if values.ndim != 4 or values.shape[-1] not in (1, 3) or values.size == 0:
        raise ValueError(f"expected images [N, H, W, 1 or 3], got {list(values.shape)}")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "biu":
        raise ValueError(f"expected uint8 or floats in [0, 1], got {values.dtype}")
    values = values.astype(np.float32)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"expected floats in [0, 1], got values from {low:g} to {high:g}")
    return np.rint(values * 255).astype(np.uint8)


def _columns(num_cells: int, num_items: int) -> int:
    """The smallest near-square width; a wider one, up to 2:1, if the items then fill every row."""
    square = math.ceil(math.sqrt(num_cells))
    full = (c for c in range(square, math.isqrt(2 * num_cells) + 1) if num_items % c == 0)
    return next(full, square)


def _tile(
    cells: np.ndarray, columns: int, padding: int, row_padding: int | None = None
) -> np.ndarray:
    """Cells [N, H, W, C] in rows, with white between them (not around) and for missing ones."""
    if columns < 1 or padding < 0:
        raise ValueError(f"expected columns >= 1 and padding >= 0, got {columns} and {padding}")
    row_padding = padding if row_padding is None else row_padding
    num_cells, height, width, channels = cells.shape
    rows = math.ceil(num_cells / columns)
    spaced = np.full(
        (rows * columns, height + row_padding, width + padding, channels), WHITE, np.uint8
    )
    spaced[:num_cells, :height, :width] = cells
    picture = spaced.reshape(rows, columns, *spaced.shape[1:]).swapaxes(1, 2)
    picture = picture.reshape(rows * spaced.shape[1], columns * spaced.shape[2], channels)
    return picture[: picture.shape[0] - row_padding, : picture.shape[1] - padding]


def _frame(picture: np.ndarray, padding: int) -> np.ndarray:
    """A white margin on all four sides."""
    return np.pad(picture, ((padding,) * 2, (padding,) * 2, (0, 0)), constant_values=WHITE)


def _caption(text: str, width: int, channels: int) -> np.ndarray:
    """One centred line of text: uint8 [height, width, channels]."""
    import matplotlib

    # matplotlib's own font: the same on every machine, and it has Greek and the minus sign.
    font_path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    size = CAPTION_SIZE
    font = ImageFont.truetype(font_path, size)
    while font.getlength(text) > width and size > MIN_CAPTION_SIZE:
        size -= 1
        font = ImageFont.truetype(font_path, size)
    strip = Image.new("L", (width, CAPTION_SIZE + 8), WHITE)
    middle = (width / 2, strip.height / 2)
    ImageDraw.Draw(strip).text(middle, text, fill=INK, font=font, anchor="mm")
    return np.asarray(strip)[..., None].repeat(channels, axis=-1)


def _figure(
    size: tuple[float, float], title: str, x_label: str, y_label: str
) -> tuple["Figure", "Axes"]:
    """An empty labelled plot, drawn by Agg without pyplot: no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, weight="bold", color=str(INK / 255))
    axes.set_xlabel(x_label, color=str(INK / 255))
    axes.set_ylabel(y_label, color=str(INK / 255))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.7")
    axes.tick_params(color="0.7", labelcolor=str(INK / 255))
    axes.set_axisbelow(True)
    return figure, axes


def _write(figure: "Figure", path: str | os.PathLike[str]) -> None:
    with _replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the same folder, renamed to `path` once it is written."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
