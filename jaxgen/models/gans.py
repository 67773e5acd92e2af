"""Generative adversarial networks: a generator, and the critic that scores its images.

    fake = generator(latents),   latents ~ N(0, I)

`gan` is the game of Goodfellow et al. (arXiv:1406.2661) under any of the named losses. In `wgan`
(Arjovsky et al., arXiv:1701.07875) the critic estimates the Wasserstein distance

    W = sup E[f(real)] − E[f(fake)] over all 1-Lipschitz f,

and the generator makes it smaller.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.models._game import Game, derived_image_shape
from jaxgen.models.adversarial_losses import NON_SATURATING, WASSERSTEIN, AdversarialLoss
from jaxgen.models.precision import Precision, check_precision
from jaxgen.types import AdversarialModel, Array, Metrics


def gan(
    generator: nn.Module,
    critic: nn.Module,
    *,
    latent_size: int,
    image_shape: tuple[int, int, int] | None = None,
    loss: AdversarialLoss = NON_SATURATING,
    pixel_range: tuple[float, float] = (0.0, 1.0),
    precision: Precision = "float32",
) -> AdversarialModel:
    """A generator and a critic that tells its fakes from real images.

    Args:
      generator: linen module, called as generator(latents [B, latent_size], train=train) ->
        images in `pixel_range`.
      critic: linen module, called as critic(images in `pixel_range`, train=train) -> scores [B].
      latent_size: D; latents are [B, D].
      image_shape: (H, W, C). None to derive it from the generator.
      loss: the two losses; see `adversarial_losses`.
      pixel_range: lowest and highest value of the generator's output; images are scaled to it.
      precision: that both networks compute in; see `Precision`.

    Returns:
      A model whose metrics are `critic_loss`, `generator_loss`, and the critic's `accuracy_real`
      and `accuracy_fake`: the shares of real images and of fakes that it classifies correctly. Of a
      set of samples it measures `diversity`, see `diversity.relative_diversity`.

    Raises:
      UserError: if latent_size is not positive, or, from `init`, if a module gives an output of
        another shape.
    """
    measures = partial(_accuracies, loss.boundary)
    return _model(
        generator, critic, image_shape, latent_size, loss, measures, pixel_range, 0.0, precision
    )


def wgan(
    generator: nn.Module,
    critic: nn.Module,
    *,
    latent_size: int,
    image_shape: tuple[int, int, int] | None = None,
    penalty_weight: ArrayLike = 0.0,
    pixel_range: tuple[float, float] = (-1.0, 1.0),
    precision: Precision = "float32",
) -> AdversarialModel:
    """A generator and a critic that estimates the Wasserstein distance between fakes and images.

    The critic has to be kept (nearly) 1-Lipschitz: by the gradient penalty, or up to an unknown
    factor by `transforms.clip_weights` at the end of its optimizer.

    Args:
      generator: linen module, as `gan` takes it.
      critic: linen module, as `gan` takes it.
      latent_size: D; latents are [B, D].
      image_shape: (H, W, C). None to derive it from the generator.
      penalty_weight: λ of Gulrajani et al. (arXiv:1704.00028), who use 10; 0 for no penalty. With
        it the critic must not have BatchNorm.
      pixel_range: lowest and highest value of the generator's output; images are scaled to it.
      precision: that both networks compute in; see `Precision`.

    Returns:
      A model whose metrics are `critic_loss`, `generator_loss` and `wasserstein`, the critic's
      estimate mean f(real) − mean f(fake), of the distance times the critic's Lipschitz constant;
      and `gradient_penalty` (times λ) if there is one. Of a set of samples it measures `diversity`.

    Raises:
      UserError: if a number is out of range, or, from `init`, if the critic has BatchNorm beside
        the penalty, or a module gives an output of another shape.
    """
    _checks.at_least("penalty_weight", penalty_weight, 0)
    return _model(
        generator,
        critic,
        image_shape,
        latent_size,
        WASSERSTEIN,
        _wasserstein,
        pixel_range,
        penalty_weight,
        precision,
    )


def _accuracies(boundary: float, real_scores: Array, fake_scores: Array) -> Metrics:
    return {
        "accuracy_real": (real_scores > boundary).astype(real_scores.dtype),
        "accuracy_fake": (fake_scores < boundary).astype(fake_scores.dtype),
    }


def _wasserstein(real_scores: Array, fake_scores: Array) -> Metrics:
    return {"wasserstein": real_scores - fake_scores}


def _model(
    generator: nn.Module,
    critic: nn.Module,
    image_shape: tuple[int, int, int] | None,
    latent_size: int,
    loss: AdversarialLoss,
    measures: Callable[[Array, Array], Metrics],
    pixel_range: tuple[float, float],
    penalty_weight: Any,
    precision: Precision,
) -> AdversarialModel:
    latent_size = _checks.whole_number("latent_size", latent_size)
    check_precision(precision)
    if image_shape is None:
        image_shape = derived_image_shape(generator, latent_size)
    game = Game(
        generator,
        critic,
        image_shape,
        latent_size,
        loss,
        measures,
        pixel_range,
        penalty_weight,
        precision,
    )
    return AdversarialModel(
        game.init,
        game.generate,
        game.critic_loss,
        game.generator_loss,
        game.evaluate,
        game.sample,
        game.decode,
        image_shape=image_shape,
        latent_size=latent_size,
        evaluate_set=game.evaluate_set,
    )
