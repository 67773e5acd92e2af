"""Variational autoencoders of convolutions, on colour photographs."""

from typing import Any, Literal, get_args

import flax.linen as nn
import numpy as np

from jaxgen import _checks, models
from jaxgen.convolutions import compiling
from jaxgen.errors import UserError
from jaxgen.learners import minimize
from jaxgen.models import likelihoods
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.objectives import Bound, KLSchedule, Objective
from jaxgen.models.precision import Precision
from jaxgen.networks.conv import ConvDecoder, PoolingEncoder, StridedEncoder
from jaxgen.networks.scale import LearnedScale
from jaxgen.systems._declaration import Number, Optimizer, Rate, system
from jaxgen.systems.optimizers import adam
from jaxgen.types import Learner

Observation = Literal["squared_error", "gaussian", "gaussian_learned_scale", "bernoulli"]


@system()
def vae_flowers(
    *,
    resolution: int = 32,
    image_channels: int = 3,
    channels: tuple[int, ...] = (16, 32, 64),
    latent_size: int = 10,
    batch_norm: bool = False,
    likelihood: Observation = "squared_error",
    scale: float = 1.0,
    learning_rate: Rate = 1e-4,
    batch_size: int = 64,
    precision: Precision = "float32",
    beta: Number = 0.1,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 1,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """Convolutional VAE with max pooling, for small photographs; squared error + 0.1 · KL."""
    image_shape = _image_shape(resolution, image_channels)
    decoder = ConvDecoder(channels[::-1], image_shape, kernel_size=2, batch_norm=batch_norm)
    model = models.vae(
        PoolingEncoder(channels, latent_size, batch_norm),
        *_observed(decoder, likelihood, scale),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        objective=Objective(
            beta,
            kl_schedule,
            kl_schedule_steps,
            free_bits,
            num_samples,
            bound,
            average_images,
        ),
    )
    optimizer = adam(learning_rate) if optimizer is None else optimizer
    return minimize(model, optimizer, batch_size=batch_size, options_of=compiling.for_small_images)


@system()
def vae_animals(
    *,
    resolution: int = 128,
    image_channels: int = 3,
    channels: tuple[int, ...] = (32, 64, 128, 256, 512),
    latent_size: int = 128,
    batch_norm: bool = False,
    likelihood: Observation = "squared_error",
    scale: float = 1.0,
    learning_rate: Rate = 1e-3,
    batch_size: int = 64,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 10,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """Convolutional VAE of strided convolutions, for photographs; ten latents per image."""
    image_shape = _image_shape(resolution, image_channels)
    decoder = ConvDecoder(channels[::-1], image_shape, kernel_size=4, batch_norm=batch_norm)
    model = models.vae(
        StridedEncoder(channels, latent_size, batch_norm),
        *_observed(decoder, likelihood, scale),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        objective=Objective(
            beta,
            kl_schedule,
            kl_schedule_steps,
            free_bits,
            num_samples,
            bound,
            average_images,
        ),
    )
    optimizer = adam(learning_rate) if optimizer is None else optimizer
    return minimize(model, optimizer, batch_size=batch_size)


def _image_shape(resolution: Any, image_channels: Any) -> tuple[int, int, int]:
    """(H, W, C), for a resolution given as a number, or as a pair of equal ones."""
    if isinstance(resolution, tuple | list | np.ndarray) and np.shape(resolution) == (2,):
        height, width = resolution
        if height != width:
            raise UserError(
                f"expected resolution to be one number, got {height}x{width}: images are square"
            )
        resolution = height
    side = _checks.whole_number("resolution", resolution)
    return side, side, _checks.whole_number("image_channels", image_channels)


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
