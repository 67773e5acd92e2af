"""How many images and samples are held at once, and one random key for each of them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.types import Array, Density, PyTree

# Decoded images that are held at once, in bytes: on a CPU, layers that stay in cache are fastest.
BYTES_AT_ONCE = 3 * 2**20
BYTES_AT_ONCE_ELSEWHERE = 64 * 2**20
IMAGES_AT_ONCE = 50


class Chunk(NamedTuple):
    """Some images of a set, filled up with the last one to a fixed number.

    Attributes:
      images: [B, H, W, C].
      labels: [B], or None.
      indices: positions in the whole set, int32 [B].
      size: how many of them are of the set.
    """

    images: np.ndarray
    labels: np.ndarray | None
    indices: np.ndarray
    size: int


def chunk_sizes(image_shape: tuple[int, ...], num_images: int, num_samples: int) -> tuple[int, int]:
    """Images and samples that are decoded at once."""
    limit = BYTES_AT_ONCE if jax.default_backend() == "cpu" else BYTES_AT_ONCE_ELSEWHERE
    rows = max(1, limit // (4 * math.prod(image_shape)))
    images_at_once = min(num_images, IMAGES_AT_ONCE, rows)
    return images_at_once, min(num_samples, max(1, rows // images_at_once))


def image_chunks(
    images: ArrayLike, labels: ArrayLike | None, images_at_once: int, start: int = 0
) -> Iterator[Chunk]:
    """The images from `start` on, in chunks of one size."""
    values = np.asarray(images)
    classes = None if labels is None else np.asarray(labels)
    for first in range(start, len(values), images_at_once):
        indices = np.arange(first, first + images_at_once, dtype=np.int32)
        rows = np.minimum(indices, len(values) - 1)
        chosen = None if classes is None else classes[rows]
        yield Chunk(values[rows], chosen, indices, min(images_at_once, len(values) - first))


def keys_of(key: Array, indices: Array) -> Array:
    """One key for each index: what is drawn under it does not depend on the others."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)


def observe(density: Density, images: Array, keys: Array) -> Array:
    """What the likelihood sees of each image, [B, H, W, C], under one key each [B]."""
    return jax.vmap(lambda image, key: density.observe(image[None], key)[0])(images, keys)


def draw(
    density: Density, state: PyTree, posterior: PyTree, labels: Array | None, keys: Array
) -> tuple[PyTree, Array]:
    """Samples of q(z|x), each under its own key: keys [K, B] -> latents [K, B, D], log q [K, B]."""

    def of_one(posterior: PyTree, label: Array | None, key: Array) -> tuple[PyTree, Array]:
        alone = jax.tree.map(lambda x: x[None], (posterior, label))
        latents, log_q = density.sample_posterior(state, alone[0], key, 1, labels=alone[1])
        return jax.tree.map(lambda x: x[0, 0], (latents, log_q))

    of_images = jax.vmap(of_one)
    return jax.vmap(of_images, in_axes=(None, None, 0))(posterior, labels, keys)


def check_images(images: ArrayLike, labels: ArrayLike | None, num_samples: int) -> None:
    """Raises UserError for no images, NaN, labels of another number, or no samples."""
    values = np.asarray(images)
    if values.ndim != 4 or not len(values):
        raise UserError(f"expected images [N, H, W, C] with N ≥ 1, got {list(values.shape)}")
    if values.dtype.kind == "f" and np.isnan(values).any():
        bad = np.isnan(values).any(axis=(1, 2, 3))
        raise UserError(
            f"expected images without NaN, got NaN in {bad.sum()} of {len(values)} (the first is "
            f"number {bad.argmax()}): leave them out"
        )
    if labels is not None and np.shape(labels) != (len(values),):
        raise UserError(
            f"expected one label for each of {len(values)} images, got {list(np.shape(labels))}"
        )
    if num_samples < 1:
        raise UserError(f"expected num_samples to be at least 1, got {num_samples}")


def given(labels: np.ndarray | None) -> Array | None:
    """Labels on the device, where there are any."""
    return None if labels is None else jnp.asarray(labels, jnp.int32)
