"""Images as a model uses them: floats in [0, 1], grey or binarized."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import _checks
from jaxgen.types import Array

Binarization = Literal["none", "threshold", "dynamic"]


def unit_interval(images: Array | np.ndarray, image_shape: tuple[int, ...]) -> Array:
    """Images as floats in [0, 1]: uint8 is divided by 255, floats are taken as they are.

    Raises:
      UserError: where the images are not [B, *image_shape], or neither uint8 nor float.
    """
    images = jnp.asarray(images)
    _checks.check_images(images, image_shape)
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def binarize(images: Array, binarization: Binarization, key: Array | None = None) -> Array:
    """Grey images in [0, 1], binarized.

    Args:
      images: floats in [0, 1].
      binarization: "none" leaves them grey; "threshold" gives 1 where a pixel is ≥ 0.5; "dynamic"
        draws each pixel from a Bernoulli distribution whose mean is its grey value (Burda et al.,
        arXiv:1509.00519, section 5).
      key: consumed by "dynamic"; without one, "dynamic" gives the mean of its draws, the grey
        image.
    """
    if binarization == "threshold":
        return (images >= 0.5).astype(images.dtype)
    if binarization == "dynamic" and key is not None:
        return jax.random.bernoulli(key, images).astype(images.dtype)
    return images


def check_binarization(binarization: str) -> None:
    """Raises UserError where `binarization` is not one of the three."""
    _checks.one_of("binarization", binarization, get_args(Binarization))


def warn_if_grey(binarization: Binarization, say: Callable[[str], object]) -> None:
    """Says in one line that the cross-entropy of grey pixels is not a likelihood."""
    if binarization == "none":
        say(
            "grey pixels: the loss is a cross-entropy plus KL, not a bound on a log-likelihood "
            "(--binarization threshold or dynamic gives one)"
        )
