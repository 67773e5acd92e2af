"""A decoder with a learned scale of the pixel noise."""

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.types import Array

# Adam moves a parameter by about its learning rate per step, whatever the size of the gradient: at
# 1e-4 it takes 23,000 steps from a scale of 1 to one of 0.1. The gain makes that 2,300.
GAIN = 10.0


class LearnedScale(nn.Module):
    """A decoder's output with one log-scale for all pixels of all images: GAIN · parameter.

    The parameter starts at 0, a scale of 1.
    """

    decoder: nn.Module

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> tuple[Array, Array]:
        """[B, latent_size] -> (the decoder's output, log_scale [B])."""
        log_scale = GAIN * self.param("log_scale", nn.initializers.zeros_init(), ())
        return self.decoder(latents, train), jnp.broadcast_to(log_scale, latents.shape[:1])
