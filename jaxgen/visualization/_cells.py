"""Images as cells of one size, laid out in rows."""

import math

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

WHITE = 255


def enlarge(image: ArrayLike, factor: int) -> np.ndarray:
    """Repeats every pixel factor x factor times: [H, W, C] -> [fH, fW, C]."""
    return np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1)


def as_bytes(images: ArrayLike) -> np.ndarray:
    """Checks images and converts them to uint8 [N, H, W, C]."""
    values = np.asarray(images)
    if values.ndim != 4 or values.shape[-1] not in (1, 3) or values.size == 0:
        raise ValueError(f"expected images [N, H, W, 1 or 3], got {list(values.shape)}")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "biu":
        raise ValueError(f"expected uint8 or floats in [0, 1], got {values.dtype}")
    values = values.astype(np.float32)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(f"expected floats in [0, 1], got values from {low:g} to {high:g}")
    return np.rint(values * 255).astype(np.uint8)


def at_height(image: np.ndarray, side: int) -> np.ndarray:
    """[H, W, C] enlarged by a whole number and centred on white, or averaged down, to `side`."""
    factor = side // max(image.shape[:2])
    if factor == 0:
        return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    large = enlarge(image, factor)
    gaps = [side - length for length in large.shape[:2]]
    edges = [(gap // 2, gap - gap // 2) for gap in gaps]
    return np.pad(large, (*edges, (0, 0)), constant_values=WHITE)


def columns_of(num_cells: int, num_items: int) -> int:
    """The smallest nearly square width; a wider one, up to 2:1, if it fills every row."""
    square = math.ceil(math.sqrt(num_cells))
    full = (c for c in range(square, math.isqrt(2 * num_cells) + 1) if num_items % c == 0)
    return next(full, square)


def tile(
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
