"""The importance weights w = p(x, z) / q(z|x), for chunks of images and samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.evaluation import _chunks
from jaxgen.types import Array, Density, PyTree


class Encoded(NamedTuple):
    """What is computed once for each image.

    Attributes:
      observations: what the likelihood sees, [B, H, W, C].
      posterior: arrays [B, ...].
      labels: [B], or None.
      keys: one for each image, [B].
    """

    observations: Array
    posterior: PyTree
    labels: Array | None
    keys: Array


def encoded(
    density: Density,
    state: PyTree,
    images: Array,
    labels: Array | None,
    indices: Array,
    key: Array,
) -> Encoded:
    """Observes and encodes a chunk of images; the keys depend on their `indices` in the set."""
    observe_key, samples_key = jax.random.split(key)
    observations = _chunks.observe(density, images, _chunks.keys_of(observe_key, indices))
    posterior = density.posterior(state, observations, labels=labels)
    return Encoded(observations, posterior, labels, _chunks.keys_of(samples_key, indices))


def log_weights(density: Density, state: PyTree, images: Encoded, positions: Array) -> Array:
    """log w of the samples at some positions: [K] -> [K, B]. Each depends on its position alone."""
    of_images = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    keys = jax.vmap(of_images, in_axes=(None, 0))(images.keys, positions)
    latents, log_q = _chunks.draw(density, state, images.posterior, images.labels, keys)
    log_p = density.log_joint(state, images.observations, latents, labels=images.labels)
    return log_p - log_q


def all_log_weights(
    density: Density, state: PyTree, images: Encoded, num_samples: int, samples_at_once: int
) -> Array:
    """log w of samples 0..num_samples − 1, [K, B], computed a few samples at a time."""
    num_steps = -(-num_samples // samples_at_once)
    positions = jnp.arange(num_steps * samples_at_once).reshape(num_steps, samples_at_once)
    weights = jax.lax.map(lambda some: log_weights(density, state, images, some), positions)
    return weights.reshape(-1, weights.shape[-1])[:num_samples]
