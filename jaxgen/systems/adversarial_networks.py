"""Generative adversarial networks on digits and photographs."""

from typing import Literal

import optax

from jaxgen import _checks, models
from jaxgen.convolutions import compiling
from jaxgen.learners import adversarial
from jaxgen.models import adversarial_losses
from jaxgen.models.adversarial_losses import AdversarialLoss
from jaxgen.models.precision import Precision
from jaxgen.networks.dcgan import DigitCritic, DigitGenerator, PyramidCritic, PyramidGenerator
from jaxgen.networks.layers import RunningVariance
from jaxgen.networks.mlp import MLPCritic, MLPGenerator
from jaxgen.systems._declaration import Number, Optimizer, Rate, system
from jaxgen.systems.optimizers import adversarial_adam, rmsprop
from jaxgen.transforms import clip_weights, share_on_bound, with_extra_arguments
from jaxgen.types import Learner, Metrics, PyTree

LossName = Literal["non_saturating", "minimax", "least_squares", "hinge"]


@system(
    image_shape="height, width and channels of an image; 25 to 36 pixels a side.",
    generator_features="features of the generator's hidden layers.",
    critic_features="features of the critic's layers.",
    batch_size="real images, and fakes, of one update.",
)
def dcgan_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_features: tuple[int, int, int, int] = (512, 256, 128, 64),
    critic_features: tuple[int, ...] = (64, 128, 256),
    latent_size: int = 100,
    loss: LossName = "non_saturating",
    num_critic_steps: int = 1,
    running_variance: RunningVariance = "biased",
    learning_rate: Rate = 2e-4,
    b1: float = 0.5,
    ema_decay: float | None = None,
    batch_size: int = 64,
    precision: Precision = "float32",
    generator_optimizer: Optimizer | None = None,
    critic_optimizer: Optimizer | None = None,
) -> Learner:
    """DCGAN on digits (arXiv:1511.06434): convolutions, BatchNorm, Adam."""
    model = models.gan(
        DigitGenerator(image_shape, generator_features, running_variance),
        DigitCritic(critic_features, running_variance),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        loss=_loss(loss),
    )
    return adversarial(
        model,
        _or(generator_optimizer, adversarial_adam(learning_rate, b1)),
        _or(critic_optimizer, adversarial_adam(learning_rate, b1)),
        num_critic_steps,
        batch_size=batch_size,
        share_fakes=True,
        ema_decay=ema_decay,
        options_of=compiling.for_wide_layers,
    )


@system(
    image_shape="height, width and channels of an image; sides of 4 to 7 pixels, doubled.",
    features="features of the layers next to the image; every smaller one has twice as many.",
    batch_size="real images, and fakes, of one update.",
)
def dcgan_flowers(
    *,
    image_shape: tuple[int, int, int] = (64, 64, 3),
    features: int = 64,
    latent_size: int = 100,
    loss: LossName = "non_saturating",
    num_critic_steps: int = 1,
    learning_rate: Rate = 2e-4,
    b1: float = 0.5,
    ema_decay: float | None = 0.999,
    batch_size: int = 64,
    precision: Precision = "float32",
    generator_optimizer: Optimizer | None = None,
    critic_optimizer: Optimizer | None = None,
) -> Learner:
    """DCGAN on photographs (arXiv:1511.06434): 28, 32, 48, 64 or 128 pixels a side."""
    model = models.gan(
        PyramidGenerator(image_shape, features),
        PyramidCritic(image_shape, features),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        loss=_loss(loss),
        pixel_range=(-1.0, 1.0),
    )
    return adversarial(
        model,
        _or(generator_optimizer, adversarial_adam(learning_rate, b1)),
        _or(critic_optimizer, adversarial_adam(learning_rate, b1)),
        num_critic_steps,
        batch_size=batch_size,
        share_fakes=True,
        ema_decay=ema_decay,
    )


@system(
    weight_bound="largest absolute value of any parameter of the critic, after each update.",
    learning_rate="step size of RMSprop, for both networks.",
    batch_size="real images, and fakes, of one update.",
)
def wgan_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_sizes: tuple[int, ...] = (64, 256, 512),
    critic_sizes: tuple[int, ...] = (64, 128),
    latent_size: int = 100,
    weight_bound: Number = 0.01,
    num_critic_steps: int = 5,
    running_variance: RunningVariance = "biased",
    learning_rate: Rate = 5e-5,
    ema_decay: float | None = None,
    batch_size: int = 64,
    precision: Precision = "float32",
    generator_optimizer: Optimizer | None = None,
    critic_optimizer: Optimizer | None = None,
) -> Learner:
    """Wasserstein GAN with weight clipping (arXiv:1701.07875): dense layers, RMSprop."""
    model = models.wgan(
        MLPGenerator(generator_sizes, image_shape, running_variance=running_variance),
        MLPCritic(critic_sizes),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
    )

    def critic_metrics(params: PyTree) -> Metrics:
        return {"weights_on_bound": share_on_bound(params, weight_bound)}

    return adversarial(
        model,
        _or(generator_optimizer, rmsprop(learning_rate)),
        optax.chain(_or(critic_optimizer, rmsprop(learning_rate)), clip_weights(weight_bound)),
        num_critic_steps,
        batch_size=batch_size,
        ema_decay=ema_decay,
        critic_metrics=critic_metrics,
    )


@system(
    penalty_weight="weight of the gradient penalty in the critic's loss.",
    batch_size="real images, and fakes, of one update.",
)
def wgan_gp_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    generator_sizes: tuple[int, ...] = (64, 256, 512),
    critic_sizes: tuple[int, ...] = (64, 128),
    latent_size: int = 100,
    penalty_weight: Number = 10.0,
    num_critic_steps: int = 5,
    learning_rate: Rate = 1e-4,
    b1: float = 0.5,
    b2: float = 0.9,
    ema_decay: float | None = None,
    batch_size: int = 64,
    precision: Precision = "float32",
    generator_optimizer: Optimizer | None = None,
    critic_optimizer: Optimizer | None = None,
) -> Learner:
    """Wasserstein GAN with gradient penalty (arXiv:1704.00028): dense layers, Adam."""
    model = models.wgan(
        MLPGenerator(generator_sizes, image_shape),
        MLPCritic(critic_sizes),
        image_shape=image_shape,
        precision=precision,
        latent_size=latent_size,
        penalty_weight=penalty_weight,
    )
    return adversarial(
        model,
        _or(generator_optimizer, adversarial_adam(learning_rate, b1, b2)),
        _or(critic_optimizer, adversarial_adam(learning_rate, b1, b2)),
        num_critic_steps,
        batch_size=batch_size,
        ema_decay=ema_decay,
    )


def _or(given: Optimizer | None, published: Optimizer) -> optax.GradientTransformationExtraArgs:
    return with_extra_arguments(published if given is None else given)


def _loss(name: str) -> AdversarialLoss:
    losses = {
        "non_saturating": adversarial_losses.NON_SATURATING,
        "minimax": adversarial_losses.MINIMAX,
        "least_squares": adversarial_losses.LEAST_SQUARES,
        "hinge": adversarial_losses.HINGE,
    }
    _checks.one_of("loss", name, tuple(losses))
    return losses[name]
