"""Variational autoencoders of convolutions, on colour photographs."""

from typing import Literal, Unpack, get_args

import flax.linen as nn

from jaxgen import _checks, models
from jaxgen.learners import minimize
from jaxgen.models import likelihoods
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.objectives import ObjectiveKeywords, takes_objective
from jaxgen.networks.conv import ConvDecoder, PoolingEncoder, StridedEncoder
from jaxgen.networks.scale import LearnedScale
from jaxgen.systems.optimizers import adam
from jaxgen.types import Learner

Observation = Literal["squared_error", "gaussian", "gaussian_learned_scale", "bernoulli"]


@takes_objective(beta=0.1)
def vae_flowers(
    *,
    resolution: int = 32,
    image_channels: int = 3,
    channels: tuple[int, ...] = (16, 32, 64),
    latent_size: int = 10,
    batch_norm: bool = False,
    likelihood: Observation = "squared_error",
    scale: float = 1.0,
    learning_rate: float = 1e-4,
    batch_size: int = 64,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """Convolutional VAE with max pooling, for small photographs; squared error + 0.1 · KL.

    Args:
      resolution: height and width of an image, a multiple of 2 to the number of `channels`.
      image_channels: 3 for colour, 1 for grey.
      channels: of the encoder's layers, each of which halves the image; the decoder's are the
        reverse.
      latent_size: dimensions of the latent space.
      batch_norm: BatchNorm after every convolution but the decoder's last.
      likelihood: what the decoded image says about the pixels: squared_error (a Gaussian of
        variance 1/2 without its normaliser), gaussian (of standard deviation `scale`, in nats),
        gaussian_learned_scale (one standard deviation, learned), or bernoulli (cross-entropy).
      scale: standard deviation of a pixel under the likelihood gaussian.
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    _checks.at_least("image_channels", image_channels, 1)
    image_shape = (resolution, resolution, image_channels)
    decoder = ConvDecoder(channels[::-1], image_shape, kernel_size=2, batch_norm=batch_norm)
    model = models.vae(
        PoolingEncoder(channels, latent_size, batch_norm),
        *_observed(decoder, likelihood, scale),
        image_shape=image_shape,
        latent_size=latent_size,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


@takes_objective(num_samples=10)
def vae_animals(
    *,
    resolution: int = 128,
    image_channels: int = 3,
    channels: tuple[int, ...] = (32, 64, 128, 256, 512),
    latent_size: int = 128,
    batch_norm: bool = False,
    likelihood: Observation = "squared_error",
    scale: float = 1.0,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """Convolutional VAE of strided convolutions, for photographs; ten latents an image.

    Args:
      resolution: height and width of an image, a multiple of 2 to the number of `channels`.
      image_channels: 3 for colour, 1 for grey.
      channels: of the encoder's layers, each of which halves the image; the decoder's are the
        reverse.
      latent_size: dimensions of the latent space.
      batch_norm: BatchNorm after every convolution but the decoder's last.
      likelihood: what the decoded image says about the pixels: squared_error (a Gaussian of
        variance 1/2 without its normaliser), gaussian (of standard deviation `scale`, in nats),
        gaussian_learned_scale (one standard deviation, learned), or bernoulli (cross-entropy).
      scale: standard deviation of a pixel under the likelihood gaussian.
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    _checks.at_least("image_channels", image_channels, 1)
    image_shape = (resolution, resolution, image_channels)
    decoder = ConvDecoder(channels[::-1], image_shape, kernel_size=4, batch_norm=batch_norm)
    model = models.vae(
        StridedEncoder(channels, latent_size, batch_norm),
        *_observed(decoder, likelihood, scale),
        image_shape=image_shape,
        latent_size=latent_size,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


def _observed(
    decoder: nn.Module, likelihood: Observation, scale: float
) -> tuple[nn.Module, Likelihood]:
    """The decoder with all that its likelihood needs, and the likelihood."""
    _checks.one_of("likelihood", likelihood, get_args(Observation))
    if likelihood == "squared_error":
        return decoder, likelihoods.squared_error()
    if likelihood == "gaussian":
        return decoder, likelihoods.gaussian(scale)
    if likelihood == "gaussian_learned_scale":
        return LearnedScale(decoder), likelihoods.gaussian_learned_scale()
    return decoder, likelihoods.bernoulli()
