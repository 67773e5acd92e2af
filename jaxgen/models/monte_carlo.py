"""Several latents an image, decoded as few large batches, in bounded memory."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.networks.rematerialization import recompute_unsaved
from jaxgen.types import Array, PyTree

# Decoded images that are held at once, in bytes. Small images all fit, and one batch is fastest.
# A decoder of convolutions holds some ten times this in its layers: with vae_animals' ten samples
# of 64 photographs, one batch takes six times the memory of one sample and no less time.
BYTES_AT_ONCE = 16 * 2**20


def map_samples(
    function: Callable[[PyTree], PyTree],
    decoder: nn.Module,
    latents: Array,
    images: Array,
    labels: tuple[Array, ...],
    train: bool,
) -> PyTree:
    """Applies `function` to what the decoder makes of each sample of the latents.

    The samples are one batch where K · B decoded images take at most BYTES_AT_ONCE. Otherwise a
    scan decodes as many samples at a time as do, at least one, and its backward pass decodes them
    once more instead of keeping their activations, all but those that the decoder says to
    `save_for_backward`: the memory is then that of one batch and of these, K times. A decoder whose
    BatchNorm takes part in training always gets one batch, as its statistics are those of all that
    it sees.

    Args:
      function: parameters of p(x|z), [B, ...] -> arrays.
      decoder: bound linen module, (latents, train, *labels) -> parameters of p(x|z).
      latents: [K, B, D].
      images: [B, H, W, C], for the size of a decoded one.
      labels: one int32 [B], or none.
      train: handed to the decoder.

    Returns:
      What `function` gives, with a leading axis of K.
    """
    num_samples, num_images, latent_size = latents.shape

    def decode(decoder: Callable[..., PyTree], latents: Array) -> PyTree:
        flat = latents.reshape(-1, latent_size)
        repeated = [jnp.tile(each, len(latents)) for each in labels]
        output = decoder(flat, train, *repeated)
        apart = jax.tree.map(lambda x: x.reshape(-1, num_images, *x.shape[1:]), output)
        return jax.vmap(function)(apart)

    at_once = _divisor(num_samples, BYTES_AT_ONCE // (images.size * images.dtype.itemsize))
    if at_once == num_samples or (train and "batch_stats" in decoder.variables):
        return decode(decoder, latents)  # pyright: ignore[reportArgumentType]

    module, variables = decoder.unbind()

    @recompute_unsaved
    def of_group(latents: Array) -> PyTree:
        def unbound(*args: Any) -> PyTree:
            return module.apply(variables, *args)

        return decode(unbound, latents)

    groups = latents.reshape(-1, at_once, num_images, latent_size)
    mapped = jax.lax.map(of_group, groups)
    return jax.tree.map(lambda x: x.reshape(num_samples, *x.shape[2:]), mapped)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`; 1 where there is none."""
    return next((d for d in range(min(number, limit), 1, -1) if number % d == 0), 1)
