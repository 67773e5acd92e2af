"""Generative adversarial networks on digits and photographs."""

from typing import Literal

import optax

from jaxgen import models
from jaxgen.errors import UserError
from jaxgen.learners import adversarial
from jaxgen.models import adversarial_losses
from jaxgen.models.adversarial_losses import AdversarialLoss
from jaxgen.networks.dcgan import DigitCritic, DigitGenerator, PyramidCritic, PyramidGenerator
from jaxgen.networks.layers import RunningVariance
from jaxgen.networks.mlp import MLPCritic, MLPGenerator
from jaxgen.systems.optimizers import adversarial_adam, rmsprop
from jaxgen.transforms import clip_weights
from jaxgen.types import Learner

LossName = Literal["non_saturating", "minimax", "least_squares", "hinge"]


def dcgan_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_features: tuple[int, int, int, int] = (512, 256, 128, 64),
    critic_features: tuple[int, ...] = (64, 128, 256),
    latent_size: int = 100,
    loss: LossName = "non_saturating",
    num_critic_steps: int = 1,
    running_variance: RunningVariance = "biased",
    learning_rate: float = 2e-4,
    b1: float = 0.5,
    ema_decay: float | None = None,
    batch_size: int = 64,
) -> Learner:
    """DCGAN on digits (arXiv:1511.06434): convolutions, BatchNorm, Adam.

    Args:
      image_shape: height, width and channels of an image; 25 to 36 pixels a side.
      generator_features: features of the generator's hidden layers.
      critic_features: features of the critic's layers.
      latent_size: dimensions of the latent space.
      loss: what the two descend: non_saturating, minimax, least_squares or hinge.
      num_critic_steps: critic updates before each generator update.
      running_variance: what BatchNorm's running variance averages: biased variances of the batch,
        or unbiased ones, as PyTorch does.
      learning_rate: step size of Adam, for both.
      b1: decay of Adam's first moment, for both.
      ema_decay: decay of a moving average of the generator, sampled beside it; none for no average.
      batch_size: real images, and fakes, an update.
    """
    model = models.gan(
        DigitGenerator(image_shape, generator_features, running_variance),
        DigitCritic(critic_features, running_variance),
        image_shape=image_shape,
        latent_size=latent_size,
        loss=_loss(loss),
    )
    return adversarial(
        model,
        adversarial_adam(learning_rate, b1),
        adversarial_adam(learning_rate, b1),
        num_critic_steps,
        batch_size=batch_size,
        share_fakes=True,
        ema_decay=ema_decay,
    )


def dcgan_flowers(
    *,
    image_shape: tuple[int, int, int] = (64, 64, 3),
    features: int = 64,
    latent_size: int = 100,
    loss: LossName = "non_saturating",
    num_critic_steps: int = 1,
    learning_rate: float = 2e-4,
    b1: float = 0.5,
    ema_decay: float | None = 0.999,
    batch_size: int = 64,
) -> Learner:
    """DCGAN on photographs (arXiv:1511.06434): 28, 32, 48, 64 or 128 pixels a side.

    Args:
      image_shape: height, width and channels of an image; sides of 4 to 7 pixels, doubled.
      features: features of the layers next to the image; every smaller one has twice as many.
      latent_size: dimensions of the latent space.
      loss: what the two descend: non_saturating, minimax, least_squares or hinge.
      num_critic_steps: critic updates before each generator update.
      learning_rate: step size of Adam, for both.
      b1: decay of Adam's first moment, for both.
      ema_decay: decay of a moving average of the generator, sampled beside it; none for no average.
      batch_size: real images, and fakes, an update.
    """
    model = models.gan(
        PyramidGenerator(image_shape, features),
        PyramidCritic(image_shape, features),
        image_shape=image_shape,
        latent_size=latent_size,
        loss=_loss(loss),
        pixel_range=(-1.0, 1.0),
    )
    return adversarial(
        model,
        adversarial_adam(learning_rate, b1),
        adversarial_adam(learning_rate, b1),
        num_critic_steps,
        batch_size=batch_size,
        share_fakes=True,
        ema_decay=ema_decay,
    )


def wgan_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_sizes: tuple[int, ...] = (64, 256, 512),
    critic_sizes: tuple[int, ...] = (64, 128),
    latent_size: int = 100,
    weight_bound: float = 0.01,
    num_critic_steps: int = 5,
    running_variance: RunningVariance = "biased",
    learning_rate: float = 5e-5,
    ema_decay: float | None = None,
    batch_size: int = 64,
) -> Learner:
    """Wasserstein GAN with weight clipping (arXiv:1701.07875): dense layers, RMSprop.

    Args:
      image_shape: height, width and channels of an image.
      generator_sizes: units of the generator's hidden layers.
      critic_sizes: units of the critic's hidden layers.
      latent_size: dimensions of the latent space.
      weight_bound: largest absolute value of any parameter of the critic, after each update.
      num_critic_steps: critic updates before each generator update.
      running_variance: what BatchNorm's running variance averages: biased variances of the batch,
        or unbiased ones, as PyTorch does.
      learning_rate: step size of RMSprop, for both.
      ema_decay: decay of a moving average of the generator, sampled beside it; none for no average.
      batch_size: real images, and fakes, an update.
    """
    model = models.wgan(
        MLPGenerator(generator_sizes, image_shape, running_variance=running_variance),
        MLPCritic(critic_sizes),
        image_shape=image_shape,
        latent_size=latent_size,
        weight_bound=weight_bound,
    )
    return adversarial(
        model,
        rmsprop(learning_rate),
        optax.chain(rmsprop(learning_rate), clip_weights(weight_bound)),
        num_critic_steps,
        batch_size=batch_size,
        ema_decay=ema_decay,
    )


def wgan_gp_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_sizes: tuple[int, ...] = (64, 256, 512),
    critic_sizes: tuple[int, ...] = (64, 128),
    latent_size: int = 100,
    penalty_weight: float = 10.0,
    num_critic_steps: int = 5,
    learning_rate: float = 1e-4,
    b1: float = 0.5,
    b2: float = 0.9,
    ema_decay: float | None = None,
    batch_size: int = 64,
) -> Learner:
    """Wasserstein GAN with gradient penalty (arXiv:1704.00028): dense layers, Adam.

    Args:
      image_shape: height, width and channels of an image.
      generator_sizes: units of the generator's hidden layers.
      critic_sizes: units of the critic's hidden layers.
      latent_size: dimensions of the latent space.
      penalty_weight: weight of the gradient penalty in the critic's loss.
      num_critic_steps: critic updates before each generator update.
      learning_rate: step size of Adam, for both.
      b1: decay of Adam's first moment, for both.
      b2: decay of Adam's second moment, for both.
      ema_decay: decay of a moving average of the generator, sampled beside it; none for no average.
      batch_size: real images, and fakes, an update.
    """
    model = models.wgan(
        MLPGenerator(generator_sizes, image_shape),
        MLPCritic(critic_sizes),
        image_shape=image_shape,
        latent_size=latent_size,
        penalty_weight=penalty_weight,
    )
    return adversarial(
        model,
        adversarial_adam(learning_rate, b1, b2),
        adversarial_adam(learning_rate, b1, b2),
        num_critic_steps,
        batch_size=batch_size,
        ema_decay=ema_decay,
    )


def _loss(name: str) -> AdversarialLoss:
    losses = {
        "non_saturating": adversarial_losses.NON_SATURATING,
        "minimax": adversarial_losses.MINIMAX,
        "least_squares": adversarial_losses.LEAST_SQUARES,
        "hinge": adversarial_losses.HINGE,
    }
    if name not in losses:
        raise UserError(f"expected loss {', '.join(losses)}, got {name!r}: pick one of them")
    return losses[name]
