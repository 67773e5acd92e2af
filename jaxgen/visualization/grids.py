"""Grids, pairs, collages and animations of images, and functions that write them to files.

Images are [N, H, W, C], uint8 or floats in [0, 1], with one channel (grey) or three (RGB). Pictures
are uint8 [H, W, C]. Pixels are never resampled or smoothed.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from jaxgen._files import writing
from jaxgen._matplotlib import import_matplotlib
from jaxgen.visualization._cells import WHITE, as_bytes, at_height, columns_of, enlarge, tile

LEGIBLE = 640  # pixels of the longer side of a picture that is shown alone
INK = 51  # dark grey: captions
CAPTION_SIZE = 14
CAPTION_WIDTH = 160  # of the name beside a row of images
MIN_CAPTION_SIZE = 8
MIN_CELL = 96  # pixels; captioned images are enlarged to at least this, to fit the caption


def grid(images: ArrayLike, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Images side by side on white, row by row.

    Args:
      images: [N, H, W, C], uint8 or floats in [0, 1].
      columns: images in a row; by default nearly square, without a gap at the end if N allows.
      padding: white pixels between images and around them.

    Returns:
      uint8 [rows * (H + padding) + padding, columns * (W + padding) + padding, C].

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
    """
    cells = as_bytes(images)
    columns = columns or columns_of(len(cells), len(cells))
    return _frame(tile(cells, columns, padding), padding)


def pairs(
    originals: ArrayLike, reconstructions: ArrayLike, columns: int | None = None, padding: int = 2
) -> np.ndarray:
    """Each original with its reconstruction directly below, with a wider gap between pairs.

    Args:
      originals: [N, H, W, C], uint8 or floats in [0, 1].
      reconstructions: the same shape; [n] belongs to originals[n].
      columns: pairs in a row; by default one row for up to ten pairs, else nearly square.
      padding: white pixels around images; original and reconstruction touch.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: different shapes, values outside [0, 1] or NaN.
    """
    above, below = as_bytes(originals), as_bytes(reconstructions)
    if above.shape != below.shape:
        raise ValueError(
            f"originals {above.shape} and reconstructions {below.shape} must have one shape"
        )
    if columns is None:
        columns = len(above) if len(above) <= 10 else columns_of(2 * len(above), len(above))
    couples = np.concatenate([above, below], axis=1)
    return _frame(tile(couples, columns, padding, 4 * padding), padding)


def captioned(images: ArrayLike, captions: Sequence[str], columns: int | None = None) -> np.ndarray:
    """A collage with a caption below each image; images are enlarged to fit the captions.

    Args:
      images: [N, H, W, C], uint8 or floats in [0, 1].
      captions: N short texts; long ones are set smaller, then clipped.
      columns: images in a row; nearly square by default.

    Returns:
      uint8 [H', W', C].

    Raises:
      ValueError: the numbers of captions and images differ; values outside [0, 1] or NaN.
    """
    cells = as_bytes(images)
    if len(captions) != len(cells):
        raise ValueError(f"{len(cells)} images need as many captions, got {len(captions)}")
    factor = math.ceil(MIN_CELL / min(cells.shape[1:3]))
    cells = np.stack([enlarge(cell, factor) for cell in cells])
    labels = [_caption(text, cells.shape[2], cells.shape[3]) for text in captions]
    labelled = np.concatenate([cells, np.stack(labels)], axis=1)
    columns = columns or columns_of(len(cells), len(cells))
    return _frame(tile(labelled, columns, padding=10), padding=10)


def strips(rows: Mapping[str, ArrayLike], side: int = 56) -> np.ndarray:
    """A row of images for each name, the name on its left.

    Small images are enlarged by a whole number, without smoothing; large ones are averaged down.

    Args:
      rows: name -> images [N, H, W, C], uint8 or floats in [0, 1]; H, W and C may differ.
      side: height of a row, in pixels.

    Returns:
      uint8 [H', W', 3].

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
    """
    made = []
    for name, images in rows.items():
        cells = as_bytes(images)
        cells = cells.repeat(3, axis=-1) if cells.shape[-1] == 1 else cells
        cells = np.stack([at_height(cell, side) for cell in cells])
        label = _caption(name, CAPTION_WIDTH, 3)
        above = (side - len(label)) // 2
        edges = ((above, side - len(label) - above), (0, 0), (0, 0))
        label = np.pad(label, edges, constant_values=WHITE)
        made.append(np.concatenate([label, tile(cells, len(cells), padding=2)], axis=1))
    width = max(row.shape[1] for row in made)
    filled = [
        np.pad(row, ((2, 2), (0, width - row.shape[1]), (0, 0)), constant_values=WHITE)
        for row in made
    ]
    return _frame(np.concatenate(filled), 2)


def legible(image: ArrayLike) -> np.ndarray:
    """A picture [H, W, C] enlarged by the whole number that brings a side to 640 pixels or more."""
    picture = np.asarray(image)
    return enlarge(picture, math.ceil(LEGIBLE / max(picture.shape[:2])))


def save(path: str | os.PathLike[str], image: ArrayLike) -> None:
    """Writes one image [H, W, C] as PNG, atomically.

    Args:
      path: the file; a missing parent folder is created.
      image: uint8 or floats in [0, 1].

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
      UserError: the file cannot be written.
    """
    pixels = as_bytes(np.asarray(image)[None])[0]
    with writing(path) as temporary:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            temporary, format="PNG"
        )


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture that `save` has written: uint8 [H, W, C]."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def animation(path: str | os.PathLike[str], frames: ArrayLike, seconds: float = 8.0) -> None:
    """Writes frames as animations that repeat and hold their last frame: a GIF and a WebP.

    Every viewer plays a GIF; it has 256 colours per frame, which grey frames do not exceed. The
    WebP is smaller and changes no pixel.

    Args:
      path: the file without its suffix; .gif and .webp are written.
      frames: [N, H, W, C], uint8 or floats in [0, 1].
      seconds: duration of one repetition, without the extra second of the last frame.

    Raises:
      ValueError: values outside [0, 1] or NaN, or another shape or dtype.
      UserError: the file cannot be written.
    """
    pixels = as_bytes(frames)
    grey = pixels.shape[-1] == 1
    pictures = [Image.fromarray(frame.squeeze(-1) if grey else frame) for frame in pixels]
    each = max(20, round(1000 * seconds / len(pictures)))  # viewers do not show less than 20 ms
    durations = [each] * (len(pictures) - 1) + [each + 1000]
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": 0}
    kinds: dict[str, dict[str, Any]] = {"GIF": {}, "WEBP": {"lossless": True, "exact": True}}
    for kind, own in kinds.items():
        with writing(Path(path).with_suffix(f".{kind.lower()}")) as temporary:
            pictures[0].save(temporary, format=kind, duration=durations, **options, **own)


def _frame(picture: np.ndarray, padding: int) -> np.ndarray:
    """A white margin on all four sides."""
    return np.pad(picture, ((padding,) * 2, (padding,) * 2, (0, 0)), constant_values=WHITE)


def _caption(text: str, width: int, channels: int) -> np.ndarray:
    """One centred line of text: uint8 [height, width, channels]."""
    # matplotlib's font is the same on every machine and has Greek letters and the minus sign.
    font_path = Path(import_matplotlib().get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    size = CAPTION_SIZE
    font = ImageFont.truetype(font_path, size)
    while font.getlength(text) > width and size > MIN_CAPTION_SIZE:
        size -= 1
        font = ImageFont.truetype(font_path, size)
    strip = Image.new("L", (width, CAPTION_SIZE + 8), WHITE)
    middle = (width / 2, strip.height / 2)
    ImageDraw.Draw(strip).text(middle, text, fill=INK, font=font, anchor="mm")
    return np.asarray(strip)[..., None].repeat(channels, axis=-1)
