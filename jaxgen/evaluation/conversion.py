"""Images of another size or number of channels, made to fit a feature network."""

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from jaxgen.errors import UserError

LUMINANCE = np.array([0.299, 0.587, 0.114])  # of ITU-R BT.601, as in PIL


def converted(images: ArrayLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Images resized with antialiasing, RGB to grey by luminance, grey to RGB by repetition.

    Samples and reference have to be converted alike: a distance between images of different
    conversions measures the conversion.

    Args:
      images: [N, H, W, 1 or 3], uint8 or floats in [0, 1].
      image_shape: the shape that each shall have.

    Returns:
      float32 [N, *image_shape].

    Raises:
      UserError: for other shapes.
    """
    values = np.asarray(images)
    height, width, channels = image_shape
    if values.ndim != 4 or values.shape[3] not in (1, 3) or channels not in (1, 3):
        raise UserError(
            f"expected images [N, H, W, 1 or 3] to convert, got {list(values.shape)}: make them so"
        )
    floats = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    if values.shape[3] == 3 and channels == 1:
        floats = (floats @ LUMINANCE.astype(np.float32))[..., None]
    if values.shape[1:3] != (height, width):
        floats = np.stack([_resized(image, width, height) for image in floats])
    if floats.shape[3] == 1 and channels == 3:
        floats = np.repeat(floats, 3, axis=3)
    return np.clip(floats, 0, 1)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    planes = [Image.fromarray(image[..., c]) for c in range(image.shape[2])]
    resized = [plane.resize((width, height), Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)
