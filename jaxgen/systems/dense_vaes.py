"""Autoencoders of dense layers on MNIST."""

from functools import partial
from typing import Unpack

import flax.linen as nn

from jaxgen import _checks, models
from jaxgen.learners import minimize
from jaxgen.models.likelihoods import bernoulli
from jaxgen.models.objectives import ObjectiveKeywords, takes_objective
from jaxgen.models.pixels import Binarization
from jaxgen.networks.layers import RunningVariance
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.systems.optimizers import adam
from jaxgen.types import Learner


@takes_objective()
def vae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """MLP VAE: one hidden layer, ReLU, Bernoulli pixels (arXiv:1312.6114).

    Args:
      image_shape: height, width and channels of an image.
      hidden_sizes: units of the encoder's hidden layers; the decoder's are the reverse.
      latent_size: dimensions of the latent space.
      binarization: what the model sees of grey pixels: none (as they are; the cross-entropy is
        then a loss, not a log-likelihood), threshold (1 where a pixel is at least 0.5), or
        dynamic (a Bernoulli draw each epoch).
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size),
        MLPDecoder(hidden_sizes[::-1], image_shape),
        bernoulli(),
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


@takes_objective()
def vae_binarized_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (200, 200),
    latent_size: int = 20,
    binarization: Binarization = "threshold",
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """MLP VAE on binary pixels: two hidden layers, LeakyReLU(0.2), a true likelihood in nats.

    Args:
      image_shape: height, width and channels of an image.
      hidden_sizes: units of the encoder's hidden layers; the decoder's are the reverse.
      latent_size: dimensions of the latent space.
      binarization: what the model sees of grey pixels: threshold (1 where a pixel is at least
        0.5), dynamic (a Bernoulli draw each epoch), or none (as they are; the cross-entropy is
        then a loss, not a log-likelihood).
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    activation = partial(nn.leaky_relu, negative_slope=0.2)
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, activation),
        MLPDecoder(hidden_sizes[::-1], image_shape, activation),
        bernoulli(),
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


@takes_objective()
def vae_batchnorm_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (512, 256, 128),
    latent_size: int = 32,
    binarization: Binarization = "none",
    running_variance: RunningVariance = "biased",
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """MLP VAE with BatchNorm (arXiv:1502.03167) after every hidden layer.

    Args:
      image_shape: height, width and channels of an image.
      hidden_sizes: units of the encoder's hidden layers; the decoder's are the reverse.
      latent_size: dimensions of the latent space.
      binarization: what the model sees of grey pixels: none (as they are; the cross-entropy is
        then a loss, not a log-likelihood), threshold (1 where a pixel is at least 0.5), or
        dynamic (a Bernoulli draw each epoch).
      running_variance: what BatchNorm's running variance averages: biased variances of the batch,
        or unbiased ones, as PyTorch does.
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, batch_norm=True, running_variance=running_variance),
        MLPDecoder(
            hidden_sizes[::-1], image_shape, batch_norm=True, running_variance=running_variance
        ),
        bernoulli(),
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


@takes_objective()
def cvae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """The networks of `vae_mnist`, encoder and decoder conditional on the label.

    Args:
      image_shape: height, width and channels of an image.
      num_classes: labels are in 0..num_classes - 1.
      hidden_sizes: units of the encoder's hidden layers; the decoder's are the reverse.
      latent_size: dimensions of the latent space.
      binarization: what the model sees of grey pixels: none (as they are; the cross-entropy is
        then a loss, not a log-likelihood), threshold (1 where a pixel is at least 0.5), or
        dynamic (a Bernoulli draw each epoch).
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    _checks.at_least("num_classes", num_classes, 1)
    model = models.vae(
        MLPEncoder(hidden_sizes, latent_size, num_classes=num_classes),
        MLPDecoder(hidden_sizes[::-1], image_shape, num_classes=num_classes),
        bernoulli(),
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
        num_classes=num_classes,
        **objective,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)


def autoencoder_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (400,),
    latent_size: int = 20,
    binarization: Binarization = "none",
    learning_rate: float = 1e-3,
    batch_size: int = 128,
) -> Learner:
    """The networks of `vae_mnist` without noise or KL: what a VAE is explained against.

    Args:
      image_shape: height, width and channels of an image.
      hidden_sizes: units of the encoder's hidden layers; the decoder's are the reverse.
      latent_size: dimensions of the code.
      binarization: what the model sees of grey pixels: none (as they are), threshold (1 where a
        pixel is at least 0.5), or dynamic (a Bernoulli draw each epoch).
      learning_rate: step size of Adam.
      batch_size: images a step.
    """
    model = models.autoencoder(
        MLPEncoder(hidden_sizes, latent_size),
        MLPDecoder(hidden_sizes[::-1], image_shape),
        bernoulli(),
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
    )
    return minimize(model, adam(learning_rate), batch_size=batch_size)
