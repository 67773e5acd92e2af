"""Images of any size as squares of one size, antialiased."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from jaxgen import _checks
from jaxgen.data.parallel import map_pictures
from jaxgen.errors import UserError
from jaxgen.types import Split

Fit = Literal["crop", "squash"]

# A JPEG file decodes to a half, a quarter or an eighth of its size in a fraction of the time.
# From twice the target size on, the resizing that follows hides the difference.
_DRAFT = 2


class SizesDifferError(UserError):
    """Images differ in size, and no resolution was given for them."""


class Square(NamedTuple):
    """The size of all images after resizing, and how they reach it.

    Attributes:
      resolution: height and width.
      fit: "crop" keeps the middle of the longer side; "squash" keeps everything, distorted.
    """

    resolution: int
    fit: Fit

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.resolution, self.resolution


def square(resolution: int | None, fit: Fit) -> Square | None:
    """The checked pair, or None where images keep their size.

    Raises:
      UserError: a resolution that is no whole number of at least 1, or another `fit`.
    """
    if fit not in get_args(Fit):
        raise UserError(f"expected fit crop or squash, got {fit!r}: pick one")
    if resolution is None:
        return None
    return Square(_checks.whole_number("resolution", resolution), fit)


def draft(image: Image.Image, target: Square | None) -> None:
    """Asks Pillow to decode a JPEG file much larger than its target at a smaller size."""
    if target is not None:
        image.draft(None, (_DRAFT * target.resolution, _DRAFT * target.resolution))


def resized(image: Image.Image, target: Square | None) -> Image.Image:
    """The image resized to `target`, or unchanged where that is None.

    Bicubic; when shrinking, the filter widens with the factor, which prevents aliasing.
    """
    if target is None or image.size == target.size:
        return image
    width, height = image.size
    box = (0.0, 0.0, float(width), float(height))
    if target.fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize(target.size, Image.Resampling.BICUBIC, box=box)


def resized_array(pixels: np.ndarray, target: Square | None) -> np.ndarray:
    """One image [H, W, C], uint8 or float32, as a square [R, R, C]; as it is without a target."""
    if target is None:
        return pixels
    # One channel at a time: Pillow knows neither float colours nor other numbers of channels.
    planes = [Image.fromarray(plane) for plane in np.moveaxis(pixels, -1, 0)]
    squares = np.stack([np.asarray(resized(plane, target)) for plane in planes], -1)
    return squares if squares.dtype == np.uint8 else squares.clip(0, 1)  # cubics overshoot


def resize_splits(splits: dict[str, Split], target: Square | None) -> dict[str, Split]:
    """The same splits with images [N, H, W, C], uint8 or float32, as squares [N, R, R, C]."""
    if target is None:
        return splits

    def resize(image: np.ndarray) -> np.ndarray:
        return resized_array(image, target)

    return {
        name: Split(np.stack(map_pictures(resize, list(images), f"resizing {name}")), labels)
        for name, (images, labels) in splits.items()
    }
