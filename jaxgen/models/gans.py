"""Generative adversarial networks: a generator, and the critic it learns to please.

    fake = generator(latents),   latents ~ N(0, I)

`gan` plays the game of Goodfellow et al. (arXiv:1406.2661) under any of the named losses. In `wgan`
(Arjovsky et al., arXiv:1701.07875) the critic estimates the Wasserstein distance

    W = sup E[f(real)] − E[f(fake)] over all 1-Lipschitz f,

and the generator makes it smaller.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.models.adversarial_losses import (
    NON_SATURATING,
    WASSERSTEIN,
    AdversarialLoss,
    gradient_penalty,
)
from jaxgen.models.pixels import unit_interval
from jaxgen.transforms import share_on_bound
from jaxgen.types import AdversarialModel, Array, Inputs, Labels, Metrics, PyTree


def gan(
    generator: nn.Module,
    critic: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    loss: AdversarialLoss = NON_SATURATING,
    pixel_range: tuple[float, float] = (0.0, 1.0),
) -> AdversarialModel:
    """A generator and a critic that tells its fakes from real images.

    Args:
      generator: linen module, (latents [B, latent_size], train) -> images in `pixel_range`.
      critic: linen module, (images in `pixel_range`, train) -> scores [B].
      image_shape: (H, W, C).
      latent_size: D; latents are [B, D].
      loss: the two losses; see `adversarial_losses`.
      pixel_range: lowest and highest value of the generator's output; images are scaled to it.

    Returns:
      A model whose metrics are `critic_loss`, `generator_loss`, and the critic's `accuracy_real`
      and `accuracy_fake`: shares of images that it takes for what they are.
    """

    def measures(real_scores: Array, fake_scores: Array) -> Metrics:
        return {
            "accuracy_real": (real_scores > loss.boundary).astype(real_scores.dtype),
            "accuracy_fake": (fake_scores < loss.boundary).astype(fake_scores.dtype),
        }

    return _model(generator, critic, loss, measures, image_shape, latent_size, pixel_range)


def wgan(
    generator: nn.Module,
    critic: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    penalty_weight: float = 0.0,
    weight_bound: float | None = None,
    pixel_range: tuple[float, float] = (-1.0, 1.0),
) -> AdversarialModel:
    """A generator and a critic that estimates the Wasserstein distance between fakes and images.

    The critic has to be kept (nearly) 1-Lipschitz: by the gradient penalty, or up to an unknown
    factor by `transforms.clip_weights` at the end of its optimizer.

    Args:
      generator: linen module, (latents [B, latent_size], train) -> images in `pixel_range`.
      critic: linen module, (images in `pixel_range`, train) -> scores [B].
      image_shape: (H, W, C).
      latent_size: D; latents are [B, D].
      penalty_weight: λ of Gulrajani et al. (arXiv:1704.00028), who take 10; 0 for no penalty. With
        it the critic must not have BatchNorm.
      weight_bound: what the critic's optimizer clips its weights to, so that the share of weights
        on the bound can be told; None where it does not clip.
      pixel_range: lowest and highest value of the generator's output; images are scaled to it.

    Returns:
      A model whose metrics are `critic_loss`, `generator_loss` and `wasserstein`, the critic's
      estimate mean f(real) − mean f(fake), of the distance times the critic's Lipschitz constant;
      `gradient_penalty` (times λ) where there is one, and in training `weights_on_bound`.

    Raises:
      UserError: where a number is negative or none, and, from `init`, where the penalty meets a
        critic with BatchNorm.
    """
    _checks.at_least("penalty_weight", penalty_weight, 0)

    def measures(real_scores: Array, fake_scores: Array) -> Metrics:
        return {"wasserstein": real_scores - fake_scores}

    model = _model(
        generator,
        critic,
        WASSERSTEIN,
        measures,
        image_shape,
        latent_size,
        pixel_range,
        penalty_weight,
    )
    if weight_bound is None:
        return model

    def generator_loss(variables: PyTree, fakes: Array) -> tuple[Array, tuple[Metrics, PyTree]]:
        # Told here because this is what sees the critic after its last update.
        value, (metrics, batch_stats) = model.generator_loss(variables, fakes)
        share = share_on_bound(variables["params"], weight_bound)
        return value, (metrics | {"weights_on_bound": share}, batch_stats)

    return model._replace(generator_loss=generator_loss)


def _model(
    generator: nn.Module,
    critic: nn.Module,
    loss: AdversarialLoss,
    measures: Callable[[Array, Array], Metrics],
    image_shape: tuple[int, int, int],
    latent_size: int,
    pixel_range: tuple[float, float],
    penalty_weight: float = 0.0,
) -> AdversarialModel:
    """A model from a loss and `measures`: (real scores, fake scores) -> metrics [B]."""
    latent_size = _checks.whole_number("latent_size", latent_size)
    low, high = pixel_range

    def init(key: Array) -> tuple[PyTree, PyTree]:
        generator_key, critic_key = jax.random.split(key)
        latents, images = jnp.zeros((1, latent_size)), jnp.zeros((1, *image_shape))
        critic_variables = critic.init(critic_key, images, train=False)
        if penalty_weight and "batch_stats" in critic_variables:
            raise UserError(
                "expected a critic without BatchNorm under a gradient penalty, which is of one "
                "image by itself: leave BatchNorm out of it, or set penalty_weight to 0"
            )
        return generator.init(generator_key, latents, train=False), critic_variables

    def apply(module: nn.Module, variables: PyTree, x: Any, train: bool) -> tuple[Array, PyTree]:
        """The output, and the running averages after it."""
        if not train:
            return module.apply(variables, x, train=False), variables.get("batch_stats", {})  # pyright: ignore[reportReturnType]
        output, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
        return output, updated.get("batch_stats", {})

    def noise(num_images: int, key: Array) -> Array:
        return jax.random.normal(key, (num_images, latent_size))

    def critic_terms(
        variables: PyTree, images: Inputs, fakes: Array, key: Array, train: bool
    ) -> tuple[Metrics, PyTree]:
        """Loss and measures of each image, [B]: real and fake halves with their own statistics."""
        images = low + (high - low) * unit_interval(images, image_shape)
        real_scores, batch_stats = apply(critic, variables, images, train)
        after_real = {**variables, "batch_stats": batch_stats}
        fake_scores, batch_stats = apply(critic, after_real, fakes, train)
        terms = {"critic_loss": loss.critic(real_scores, fake_scores)}
        terms |= measures(real_scores, fake_scores)
        if penalty_weight:
            penalty = penalty_weight * gradient_penalty(
                lambda x: apply(critic, variables, x, train)[0], images, fakes, key
            )
            terms |= {"critic_loss": terms["critic_loss"] + penalty, "gradient_penalty": penalty}
        return terms, batch_stats

    def generate(variables: PyTree, num_images: int, key: Array) -> tuple[Array, PyTree]:
        return apply(generator, variables, noise(num_images, key), True)

    def critic_loss(
        variables: PyTree, images: Inputs, fakes: Array, key: Array
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        terms, batch_stats = critic_terms(variables, images, fakes, key, True)
        means = jax.tree.map(jnp.mean, terms)
        return means["critic_loss"], (means, batch_stats)

    def generator_loss(variables: PyTree, fakes: Array) -> tuple[Array, tuple[Metrics, PyTree]]:
        scores, batch_stats = apply(critic, variables, fakes, True)
        value = jnp.mean(loss.generator(scores))
        return value, ({"generator_loss": value}, batch_stats)

    def evaluate(
        generator_variables: PyTree, critic_variables: PyTree, images: Inputs, key: Array
    ) -> Metrics:
        noise_key, terms_key = jax.random.split(key)
        latents = noise(len(images), noise_key)
        fakes, _ = apply(generator, generator_variables, latents, False)
        terms, _ = critic_terms(critic_variables, images, fakes, terms_key, False)
        scores, _ = apply(critic, critic_variables, fakes, False)
        return terms | {"generator_loss": loss.generator(scores)}

    def decode(variables: PyTree, latents: Inputs, *, labels: Labels = None) -> Array:
        fakes, _ = apply(generator, variables, latents, False)
        return (fakes - low) / (high - low)

    def sample(variables: PyTree, num_samples: int, key: Array, *, labels: Labels = None) -> Array:
        return decode(variables, noise(num_samples, key))

    return AdversarialModel(
        init,
        generate,
        critic_loss,
        generator_loss,
        evaluate,
        sample,
        decode,
        image_shape=image_shape,
        latent_size=latent_size,
    )
