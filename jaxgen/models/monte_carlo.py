"""Several latents per image, decoded as few large batches, in bounded memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.networks.rematerialization import recompute_unsaved
from jaxgen.types import Array, PyTree

# Decoded images that are held at the same time, in bytes. Small images all fit, and one batch is
# fastest. A decoder of convolutions holds some ten times this in its layers: with vae_animals' ten
# samples of 64 photographs, one batch takes six times the memory of one sample and no less time.
BYTES_AT_ONCE = 16 * 2**20
# An accelerator has the memory, and computes a large batch faster than several small ones.
BYTES_AT_ONCE_ELSEWHERE = 256 * 2**20

# (latents [n, D], labels [n], key) -> (parameters of p(x|z), the decoder's collections)
Decoder = Callable[[Array, Array | None, Array | None], tuple[Any, PyTree]]


def map_samples(
    function: Callable[[PyTree], PyTree],
    decoder: Decoder,
    latents: Array,
    images: Array,
    labels: Array | None,
    key: Array | None,
    *,
    in_one_batch: bool = False,
) -> tuple[PyTree, PyTree]:
    """Applies `function` to the decoder's output for each sample of the latents.

    The samples are one batch if K · B decoded images take at most BYTES_AT_ONCE, or on an
    accelerator BYTES_AT_ONCE_ELSEWHERE. Otherwise a scan decodes as many samples at a time as do,
    at least one, and its backward pass decodes them again instead of saving their activations, all
    but those that the decoder marks by `save_for_backward`: the memory is then that of one batch
    and of these, K times.

    Args:
      function: parameters of p(x|z), [B, ...] -> arrays.
      decoder: see `Decoder`.
      latents: [K, B, D].
      images: [B, H, W, C], for the size of a decoded one.
      labels: int32 [B] or None.
      key: of the decoder's random layers, or None.
      in_one_batch: for a decoder that changes its collections, as BatchNorm in training mode
        normalizes by the statistics of its whole input.

    Returns:
      The output of `function`, with a leading axis of K, and the decoder's collections.
    """
    num_samples, num_images, latent_size = latents.shape

    def decode(latents: Array, key: Array | None) -> tuple[PyTree, PyTree]:
        flat = latents.reshape(-1, latent_size)
        repeated = None if labels is None else jnp.tile(labels, len(latents))
        output, collections = decoder(flat, repeated, key)
        apart = jax.tree.map(lambda x: x.reshape(-1, num_images, *x.shape[1:]), output)
        return jax.vmap(function)(apart), collections

    limit = BYTES_AT_ONCE if jax.default_backend() == "cpu" else BYTES_AT_ONCE_ELSEWHERE
    at_once = _divisor(num_samples, limit // (images.size * images.dtype.itemsize))
    if in_one_batch or at_once == num_samples:
        return decode(latents, key)

    @recompute_unsaved
    def decode_group(group: tuple[Array, Array]) -> tuple[PyTree, PyTree]:
        latents, index = group
        return decode(latents, None if key is None else jax.random.fold_in(key, index))

    groups = latents.reshape(-1, at_once, num_images, latent_size)
    mapped, collections = jax.lax.map(decode_group, (groups, jnp.arange(len(groups))))
    mapped = jax.tree.map(lambda x: x.reshape(num_samples, *x.shape[2:]), mapped)
    # No group changes them.
    return mapped, jax.tree.map(lambda x: x[0], collections)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`; 1 if there is none."""
    return next((d for d in range(min(number, limit), 1, -1) if number % d == 0), 1)
