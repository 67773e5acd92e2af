"""One picture file of any common format as an RGB array."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from jaxgen.data.resizing import Square, draft, resized

# The formats of pictures that Pillow decodes by itself and knows by their first bytes.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF"),
    "WEBP",
)
# As many as this are decoded at a time in every thread, after JPEG's own reduction in size.
MAX_PIXELS = 2**26


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
      pixels: uint8 [H, W, 3].
      frames_left: whether the file holds more frames or pages than the first.
    """

    pixels: np.ndarray
    frames_left: bool


@cache
def suffixes() -> frozenset[str]:
    """The endings of the files that `decode_picture` reads, in lower case, with the dot."""
    known = Image.registered_extensions().items()
    return frozenset(end for end, kind in known if kind in _FORMATS) - {".pfm"}  # floats


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in _FORMATS if kind in Image.OPEN)  # AVIF is optional


def decode_picture(file: Path, target: Square | None) -> Picture:
    """Decodes the first frame, turned upright, with white where it is transparent.

    Raises:
      Exception: of many kinds, where Pillow cannot read the file, or its pixels are too many or
        have no range that is known.
    """
    with Image.open(file, formats=_formats()) as image:
        frames_left = image.format != "MPO" and getattr(image, "is_animated", False)
        draft(image, target)
        check_size(image)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits, of which Pillow would take the lower 8
            upright = _eight_bits(upright)
        if upright.mode == "F":
            raise ValueError("its pixels are floats")
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            paper = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(paper, upright)
        return Picture(np.asarray(resized(upright.convert("RGB"), target)), frames_left)


def picture_shape(file: Path) -> tuple[int, int, int]:
    """The shape of `decode_picture` without a target, from the header of the file alone.

    Raises:
      Exception: as `decode_picture`, where the header is damaged.
    """
    with Image.open(file, formats=_formats()) as image:
        check_size(image)
        width, height = image.size
        on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (width, height, 3) if on_its_side else (height, width, 3)


def check_size(image: Image.Image) -> None:
    """Raises ValueError, before anything is decoded, where a picture has absurdly many pixels."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"its {width}x{height} pixels are more than {MAX_PIXELS:,}")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray((values / 257).round().astype(np.uint8))
