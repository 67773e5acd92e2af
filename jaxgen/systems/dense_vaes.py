"""Autoencoders of dense layers on MNIST."""

from functools import partial

import flax.linen as nn

from jaxgen import _checks, models
from jaxgen.learners import minimize
from jaxgen.models.likelihoods import bernoulli
from jaxgen.models.objectives import Bound, KLSchedule, Objective
from jaxgen.models.pixels import Binarization
from jaxgen.models.precision import Precision
from jaxgen.networks.layers import RunningVariance
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.systems._declaration import Number, Optimizer, Rate, system
from jaxgen.systems.optimizers import adam
from jaxgen.types import Learner


@system()
def vae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: Rate = 1e-3,
    batch_size: int = 128,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 1,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """MLP VAE: one hidden layer, ReLU, Bernoulli pixels (arXiv:1312.6114)."""
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size),
        MLPDecoder(hidden_sizes[::-1], image_shape),
        bernoulli(),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        binarization=binarization,
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


@system()
def vae_binarized_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (200, 200),
    latent_size: int = 20,
    binarization: Binarization = "threshold",
    learning_rate: Rate = 1e-3,
    batch_size: int = 128,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 1,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """MLP VAE on binary pixels: two hidden layers, LeakyReLU(0.2), a true likelihood in nats."""
    activation = partial(nn.leaky_relu, negative_slope=0.2)
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, activation),
        MLPDecoder(hidden_sizes[::-1], image_shape, activation),
        bernoulli(),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        binarization=binarization,
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


@system()
def vae_batchnorm_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (512, 256, 128),
    latent_size: int = 32,
    binarization: Binarization = "none",
    running_variance: RunningVariance = "biased",
    learning_rate: Rate = 1e-3,
    batch_size: int = 64,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 1,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """MLP VAE with BatchNorm (arXiv:1502.03167) after every hidden layer."""
    norm = {"batch_norm": True, "running_variance": running_variance}
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, **norm),
        MLPDecoder(hidden_sizes[::-1], image_shape, **norm),
        bernoulli(),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        binarization=binarization,
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


@system()
def cvae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: Rate = 1e-3,
    batch_size: int = 128,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 1,
    bound: Bound = "elbo",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """The networks of `vae_mnist`, encoder and decoder conditional on the label."""
    num_classes = _checks.whole_number("num_classes", num_classes)
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, num_classes=num_classes),
        MLPDecoder(hidden_sizes[::-1], image_shape, num_classes=num_classes),
        bernoulli(),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        binarization=binarization,
        num_classes=num_classes,
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


@system(latent_size="dimensions of the code.")
def autoencoder_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: Rate = 1e-3,
    batch_size: int = 128,
    precision: Precision = "float32",
    optimizer: Optimizer | None = None,
) -> Learner:
    """The networks of `vae_mnist` without noise or KL: the baseline of a VAE."""
    model = models.autoencoder(
        MLPEncoder(hidden_sizes, latent_size),
        MLPDecoder(hidden_sizes[::-1], image_shape),
        bernoulli(),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        binarization=binarization,
    )
    optimizer = adam(learning_rate) if optimizer is None else optimizer
    return minimize(model, optimizer, batch_size=batch_size)
