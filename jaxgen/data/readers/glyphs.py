"""Digits drawn from the fonts that matplotlib ships: a data set that needs no download.

Each font's digit becomes a signed distance field. An image samples the field of one font through
a random affine map and a smooth random displacement (elastic distortion: Simard, Steinkraus and
Platt, "Best practices for convolutional neural networks", 2003). Moving the threshold of the
field makes the stroke thicker or thinner, and its slope antialiases the edge. As in MNIST, a
digit fits a box of 20x20 pixels and has its centre of mass in the middle of 28x28.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen._matplotlib import import_matplotlib
from jaxgen.types import Split

# The fonts whose digits are upright Latin digits of text. The others that matplotlib ships have
# no digits, or symbols in their place. DejaVu Sans Mono is left out for its dotted zero.
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10", "cmmi10"),
)
_SIZE = 28
_BOX = 20.0  # longest side of a digit, in pixels
_MARGIN = 1.5  # pixels between the edge of a digit and the border, at least
_SOFTNESS = 1.25  # width of an edge, in pixels
_FIELD = 64  # side of a distance field, in its own pixels
_HEIGHT = 40  # of a digit in a distance field
_REACH = 8  # distances are clipped at this many field pixels
_SUPERSAMPLING = 4
_POINTS = 20
_KNOTS = 7  # of the displacement, along each side
_KNOT_DISTANCE = 8.0  # in pixels
_CHUNK = 250  # images at a time, so that temporaries stay in the processor's cache
_VERSION = 1  # to be raised whenever the drawing changes
_SEED = 20_031  # of the data set that `load` gives


class _Glyphs(NamedTuple):
    """Digit d of font f is number 10 f + d. Points are (x, y) in field pixels from the centre."""

    fields: np.ndarray  # [G, _FIELD, _FIELD], distance to the edge, > 0 inside
    outlines: np.ndarray  # [G, 2 * _POINTS, 2], on the edge: corners, and points between them
    interiors: np.ndarray  # [G, 2 * _POINTS, 2], spread over the inside
    half_widths: np.ndarray  # [G], of the stroke


class _Warps(NamedTuple):
    """One random drawing for each of N images, in pixels."""

    glyphs: np.ndarray  # int [N]
    forward: np.ndarray  # [N, 2, 2], field pixels -> image pixels
    displacements: np.ndarray  # [N, 2, _KNOTS, _KNOTS], of x and y, at the knots [y, x]
    half_widths: np.ndarray  # [N], of the stroke that is wanted


def source() -> tuple[Any, ...]:
    """Identifies the drawn set."""
    return ("glyphs", _VERSION, _SEED)


def draw(num_train: int = 60_000, num_test: int = 10_000, seed: int = _SEED) -> dict[str, Split]:
    """Draws labelled digits, uint8 [N, 28, 28, 1]; every label is as frequent as any other.

    The same seed gives the same images, up to what versions of FreeType and NumPy may change.
    """
    glyphs = _read_fonts()
    seeds = np.random.SeedSequence(seed).spawn(2)
    return {
        name: _draw_split(glyphs, num_images, np.random.default_rng(sequence))
        for name, num_images, sequence in zip(
            ("train", "test"), (num_train, num_test), seeds, strict=True
        )
    }


def _draw_split(glyphs: _Glyphs, num_images: int, rng: np.random.Generator) -> Split:
    labels = rng.permutation(np.arange(num_images, dtype=np.int32) % 10)
    warps = _draw_warps(labels, len(glyphs.fields) // 10, rng)
    chunks = [
        _Warps(*(field[start : start + _CHUNK] for field in warps))
        for start in range(0, num_images, _CHUNK)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda chunk: _render(glyphs, chunk), chunks))
    return Split(np.concatenate(images)[..., None], labels)


def _draw_warps(labels: np.ndarray, num_fonts: int, rng: np.random.Generator) -> _Warps:
    num = len(labels)
    fonts = rng.integers(num_fonts, size=num)
    angle = rng.normal(0.0, 0.12, num)
    slant = rng.normal(0.1, 0.18, num).clip(-0.4, 0.5)
    narrow = rng.uniform(0.8, 1.2, num)
    rotate = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    shear = np.stack([narrow, -slant, np.zeros(num), np.ones(num)], -1)  # y points down
    forward = rotate.reshape(-1, 2, 2) @ shear.reshape(-1, 2, 2) * (_BOX / _HEIGHT)
    size = rng.gamma(4.0, 0.25, (num, 1, 1, 1))  # some are distorted much more than others
    # Bounded, so that the displacement stays invertible.
    shifts = rng.standard_normal((num, 2, _KNOTS, _KNOTS)).clip(-2, 2) * size.clip(0.3, 1.4)
    return _Warps(
        10 * fonts + labels,
        forward.astype(np.float32),
        (1.5 * shifts).astype(np.float32),
        rng.uniform(0.85, 1.75, num).astype(np.float32),
    )


def _render(glyphs: _Glyphs, warps: _Warps) -> np.ndarray:
    """Draws uint8 [N, 28, 28].

    An image pixel o shows the field at inverse(u + d(u)), with d the displacement and
    u = (o - middle) / zoom + centre, which brings the digit to its size and place.
    """
    which = warps.glyphs
    inverse = np.linalg.inv(warps.forward)
    scale = np.sqrt(np.abs(np.linalg.det(warps.forward)))  # pixels per field pixel
    # Bounded, so that a thin stroke of a bold digit does not vanish.
    thicken = np.maximum(warps.half_widths - glyphs.half_widths[which] * scale, -0.45)

    edge = _carry(glyphs.outlines[which], warps)
    low = edge.min(1) - thicken[:, None]
    high = edge.max(1) + thicken[:, None]
    zoom = _BOX / (high - low).max(1, keepdims=True)
    centre = _carry(glyphs.interiors[which], warps).mean(1)
    middle = np.full_like(centre, _SIZE / 2)
    middle = np.maximum(middle, _MARGIN + (centre - low) * zoom)
    middle = np.minimum(middle, _SIZE - _MARGIN - (high - centre) * zoom)

    pixels = np.arange(_SIZE, dtype=np.float32) + 0.5
    u = (pixels - middle[..., None]) / zoom[..., None] + centre[..., None]  # [N, 2, 28]
    columns, rows = _splines(u[:, 0]), _splines(u[:, 1])
    x = rows @ warps.displacements[:, 0] @ columns.mT + u[:, 0, None, :]
    y = rows @ warps.displacements[:, 1] @ columns.mT + u[:, 1, :, None]
    a, b, c, d = (inverse[:, i, j, None, None] for i in (0, 1) for j in (0, 1))
    distance = _sample(glyphs.fields, which, a * x + b * y, c * x + d * y)
    distance *= scale[:, None, None]
    distance += thicken[:, None, None]
    distance *= zoom[:, :, None] / _SOFTNESS
    return np.rint(255 * (distance + 0.5).clip(0, 1)).astype(np.uint8)


def _carry(points: np.ndarray, warps: _Warps) -> np.ndarray:
    """Image positions of points [N, K, 2] of the field: the u with u + d(u) = forward points."""
    target = points @ warps.forward.mT
    u = target
    for _ in range(2):  # fixed-point iteration; d changes by less than u does
        columns, rows = _splines(u[..., 0]), _splines(u[..., 1])
        d = [((rows @ c) * columns).sum(-1) for c in warps.displacements.transpose(1, 0, 2, 3)]
        u = target - np.stack(d, -1)
    return u


def _splines(position: np.ndarray) -> np.ndarray:
    """Weights [..., _KNOTS] of the cubic B-splines around each knot at positions [...]."""
    knots = np.arange(_KNOTS, dtype=np.float32) - (_KNOTS - 1) / 2
    away = np.abs(position[..., None] / np.float32(_KNOT_DISTANCE) - knots)
    near, far = np.minimum(away, 1), 2 - away.clip(1, 2)
    return np.where(away < 1, 2 / 3 - near * near * (1 - near / 2), far * far * far / 6)


def _sample(fields: np.ndarray, which: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Field number which[n] at x, y [N, H, W] from the centre, by bilinear interpolation."""
    x = (x + (_FIELD - 1) / 2).clip(0, _FIELD - 1.001)
    y = (y + (_FIELD - 1) / 2).clip(0, _FIELD - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x -= left
    y -= top
    corner = which[:, None, None] * _FIELD**2 + top * _FIELD + left
    flat = fields.reshape(-1)
    upper, lower = flat.take(corner), flat.take(corner + _FIELD)
    upper += x * (flat.take(corner + 1) - upper)
    lower += x * (flat.take(corner + _FIELD + 1) - lower)
    return upper + y * (lower - upper)


def _read_fonts() -> _Glyphs:
    folder = Path(import_matplotlib().get_data_path()) / "fonts" / "ttf"
    files = [str(folder / f"{font}.ttf") for font in FONTS]
    masks = np.stack([_mask(file, digit) for file in files for digit in "0123456789"])
    fields = _signed_distances(masks)
    angles = np.arange(_POINTS) * (2 * np.pi / _POINTS)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    outlines, interiors, half_widths = [], [], []
    for field in fields:
        inside = np.argwhere(field > 0)[:, ::-1] - (_FIELD - 1) / 2
        edge = np.argwhere((field > 0) & (field < 1))[:, ::-1] - (_FIELD - 1) / 2
        corners = edge[(edge @ directions).argmax(0)]
        outlines.append(np.concatenate([corners, _spread(edge, _POINTS)]))
        sample = _spread(inside, 2 * _POINTS)
        interiors.append(sample + inside.mean(0) - sample.mean(0))  # the centre of mass is exact
        half_widths.append(2 * field[field > 0].mean())
    points = (np.asarray(points, np.float32) for points in (outlines, interiors, half_widths))
    return _Glyphs(fields, *points)


def _spread(points: np.ndarray, number: int) -> np.ndarray:
    return points[np.linspace(0, len(points) - 1, number).astype(int)]


def _mask(font: str, digit: str) -> np.ndarray:
    """A digit, bool, supersampled, in the middle of its field and of the common height."""
    from PIL import Image, ImageDraw, ImageFont

    side, height = _FIELD * _SUPERSAMPLING, _HEIGHT * _SUPERSAMPLING
    canvas = Image.new("L", (2 * side, 2 * side))

    def write(size: float) -> tuple[int, int, int, int]:
        typeface = ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
        canvas.paste(0, (0, 0, *canvas.size))
        ImageDraw.Draw(canvas).text((side, side), digit, fill=255, font=typeface, anchor="mm")
        return canvas.getbbox() or (0, 0, 1, 1)

    _, top, _, bottom = write(height)
    left, top, right, bottom = write(height * height / (bottom - top))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    return np.asarray(canvas.crop((x, y, x + side, y + side))) > 127


def _signed_distances(masks: np.ndarray) -> np.ndarray:
    """Euclidean distances to the edge, in field pixels, > 0 inside: [G, _FIELD, _FIELD].

    Exact up to `_REACH`: first along the columns, then the best of all pixels of the row.
    """
    reach = _REACH * _SUPERSAMPLING
    sampled = slice(_SUPERSAMPLING // 2, None, _SUPERSAMPLING)
    distances = []
    for inside in (masks, ~masks):
        column = np.where(inside, np.float32(reach), np.float32(0))
        for y in range(1, masks.shape[1]):
            np.minimum(column[:, y], column[:, y - 1] + 1, out=column[:, y])
        for y in range(masks.shape[1] - 2, -1, -1):
            np.minimum(column[:, y], column[:, y + 1] + 1, out=column[:, y])
        squares = np.pad(column[:, sampled] ** 2, ((0, 0), (0, 0), (reach, reach)), mode="edge")
        best = np.full((len(masks), _FIELD, _FIELD), np.float32(reach * reach))
        for step in range(-reach, reach + 1):
            row = squares[:, :, reach + step :][:, :, sampled][:, :, :_FIELD]
            np.minimum(best, row + np.float32(step * step), out=best)
        distances.append(np.sqrt(best))
    inner, outer = (np.maximum(distance - 0.5, 0) for distance in distances)
    return (inner - outer) / np.float32(_SUPERSAMPLING)
