"""Bits per dimension of images with continuous likelihoods."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.types import Array

NUM_LEVELS = 256


def dequantized(images: ArrayLike, key: Array) -> Array:
    """8-bit images as continuous values in [0, 1): (v + u) / 256, u ~ U[0, 1) for each value.

    A density of the quantized values themselves can be made as large as one likes; the mean
    log-density of the dequantized ones is a lower bound on the log-probability of the 8-bit image,
    after `bits_per_dimension` has accounted for the width of a level.

    Args:
      images: uint8 [N, H, W, C].
      key: consumed; each image has its own noise.

    Returns:
      float32 [N, H, W, C].

    Raises:
      UserError: where the images are not uint8.

    References:
      Theis et al., A note on the evaluation of generative models, arXiv:1511.01844.
    """
    values = np.asarray(images)
    if values.dtype != np.uint8:
        raise UserError(
            f"expected 8-bit images to dequantize, got {values.dtype}: give the data as uint8"
        )
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(values)))
    noise = jax.vmap(lambda key: jax.random.uniform(key, values.shape[1:]))(keys)
    return (jnp.asarray(values, jnp.float32) + noise) / NUM_LEVELS


def bits_per_dimension(log_likelihood: ArrayLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Nats per image as bits per pixel and channel, of images dequantized by `dequantized`.

        bits = −(log p(x) / n − log 256) / log 2,   n = H · W · C

    log p(x) is a density of values in [0, 1), where a level of the 8-bit image is 1/256 wide.

    Args:
      log_likelihood: nats, [N].
      image_shape: (H, W, C).

    Returns:
      float64 [N]; 8 for the uniform density.
    """
    nats = np.asarray(log_likelihood, np.float64) / math.prod(image_shape)
    return (math.log(NUM_LEVELS) - nats) / math.log(2)
