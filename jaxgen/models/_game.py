"""A generator and a critic as pure functions of their variables."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen._checks import is_traced
from jaxgen.errors import UserError
from jaxgen.models import _modules
from jaxgen.models.adversarial_losses import AdversarialLoss, gradient_penalty
from jaxgen.models.diversity import relative_diversity
from jaxgen.models.pixels import unit_interval
from jaxgen.models.precision import Precision
from jaxgen.types import Array, Inputs, Labels, Metrics, PyTree

RESIZE = "change the module, or the size given to the model"


class Game(NamedTuple):
    """What an adversarial model is made of.

    Attributes:
      generator: linen module, latents -> images in `pixel_range`.
      critic: linen module, images in `pixel_range` -> scores [B].
      image_shape: (H, W, C).
      latent_size: D.
      loss: of both.
      measures: (real scores, fake scores) -> metrics [B].
      pixel_range: lowest and highest value of a fake.
      penalty_weight: of the gradient penalty; 0 for none.
      precision: that both compute in.
    """

    generator: nn.Module
    critic: nn.Module
    image_shape: tuple[int, int, int]
    latent_size: int
    loss: AdversarialLoss
    measures: Callable[[Array, Array], Metrics]
    pixel_range: tuple[float, float]
    penalty_weight: Any
    precision: Precision

    @property
    def penalized(self) -> bool:
        """Whether there is a gradient penalty."""
        return is_traced(self.penalty_weight) or bool(self.penalty_weight != 0)

    def init(self, key: Array) -> tuple[PyTree, PyTree]:
        """key -> variables of generator and critic; the outputs are checked for their shapes."""
        generator_key, critic_key = jax.random.split(key)
        latents, images = jnp.zeros((1, self.latent_size)), jnp.zeros((1, *self.image_shape))
        if self.penalized and _has_batch_norm(self.critic, images):
            raise UserError(
                "expected a critic without BatchNorm under a gradient penalty, which is of one "
                "image by itself: leave BatchNorm out of it, or set penalty_weight to 0"
            )
        scores, critic = _modules.init(self.critic, critic_key, images, train=False)
        _modules.check_shape("scores of the critic", scores, (), "give one score for each image")
        fakes, generator = _modules.init(self.generator, generator_key, latents, train=False)
        _modules.check_shape("images of the generator", fakes, self.image_shape, RESIZE)
        return generator, critic

    def generate(self, variables: PyTree, num_images: int, key: Array, /) -> tuple[Array, PyTree]:
        """Fakes in training mode, and the generator's collections."""
        latents = self._noise(variables, num_images, key)
        module_key = jax.random.fold_in(key, 1)
        return self._apply(self.generator, variables, latents, train=True, key=module_key)

    def critic_loss(
        self, variables: PyTree, images: Inputs, fakes: Array, key: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        """(loss, (metrics, collections)) of the critic, means over the batch."""
        terms, collections = self._critic_terms(variables, images, fakes, key, True)
        means = jax.tree.map(jnp.mean, terms)
        return means["critic_loss"], (means, collections)

    def generator_loss(
        self, variables: PyTree, fakes: Array, key: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        """(loss, (metrics, collections of the critic)) of the generator."""
        scores, collections = self._apply(self.critic, variables, fakes, train=True, key=key)
        value = jnp.mean(self.loss.generator(scores))
        return value, ({"generator_loss": value}, collections)

    def evaluate(self, generator: PyTree, critic: PyTree, images: Inputs, key: Array, /) -> Metrics:
        """Metrics of each image, [B], in evaluation mode."""
        noise_key, terms_key = jax.random.split(key)
        latents = self._noise(generator, len(images), noise_key)
        fakes, _ = self._apply(self.generator, generator, latents, train=False)
        terms, _ = self._critic_terms(critic, images, fakes, terms_key, False)
        scores, _ = self._apply(self.critic, critic, fakes, train=False)
        return terms | {"generator_loss": self.loss.generator(scores)}

    def evaluate_set(self, generator: PyTree, images: Inputs, key: Array, /) -> Metrics:
        """The diversity of as many samples as there are images."""
        samples = self.sample(generator, len(images), key)
        return {"diversity": relative_diversity(samples, unit_interval(images, self.image_shape))}

    def decode(self, variables: PyTree, /, latents: Inputs, *, labels: Labels = None) -> Array:
        """Fakes scaled to [0, 1], in evaluation mode."""
        _modules.checked_labels(labels, 0)
        low, high = self.pixel_range
        fakes, _ = self._apply(self.generator, variables, jnp.asarray(latents), train=False)
        return (fakes - low) / (high - low)

    def sample(
        self, variables: PyTree, /, num_samples: int, key: Array, *, labels: Labels = None
    ) -> Array:
        """Decoded draws from N(0, I)."""
        return self.decode(variables, self._noise(variables, num_samples, key), labels=labels)

    def _apply(
        self, module: nn.Module, variables: PyTree, x: Array, train: bool, key: Array | None = None
    ) -> tuple[Array, PyTree]:
        return _modules.apply(module, variables, x, train=train, key=key, precision=self.precision)

    def _noise(self, variables: PyTree, num_images: int, key: Array) -> Array:
        shape = (num_images, self.latent_size)
        return jax.random.normal(key, shape, _modules.dtype_of(variables))

    def _critic_terms(
        self, variables: PyTree, images: Inputs, fakes: Array, key: Array, train: bool
    ) -> tuple[Metrics, PyTree]:
        """Loss and measures of each image, [B]: real and fake halves with their own statistics."""
        low, high = self.pixel_range
        images = low + (high - low) * unit_interval(images, self.image_shape)
        keys = [jax.random.fold_in(key, i) if train else None for i in range(3)]

        def score(variables: PyTree, x: Array, key: Array | None) -> tuple[Array, PyTree]:
            return self._apply(self.critic, variables, x, train=train, key=key)

        real_scores, collections = score(variables, images, keys[0])
        fake_scores, collections = score({**variables, **collections}, fakes, keys[1])
        terms = {"critic_loss": self.loss.critic(real_scores, fake_scores)}
        terms |= self.measures(real_scores, fake_scores)
        if self.penalized:
            slopes = gradient_penalty(lambda x: score(variables, x, keys[2])[0], images, fakes, key)
            penalty = self.penalty_weight * slopes
            terms |= {"critic_loss": terms["critic_loss"] + penalty, "gradient_penalty": penalty}
        return terms, collections


def derived_image_shape(generator: nn.Module, latent_size: int) -> tuple[int, int, int]:
    """(H, W, C) of a generator's output."""
    latents = jnp.zeros((1, latent_size))

    def fakes(key: Array) -> Any:
        return generator.init_with_output(key, latents, train=False)[0]

    images = jax.eval_shape(fakes, jax.eval_shape(lambda: jax.random.key(0)))
    if getattr(images, "ndim", 0) != 4:
        found = list(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise UserError(
            f"expected images of the generator of shape [N, H, W, C], got {found}: {RESIZE}"
        )
    return images.shape[1:]


def _has_batch_norm(module: nn.Module, x: Array) -> bool:
    """Whether a module calls BatchNorm: not every collection "batch_stats" is one of BatchNorm."""
    found = []

    def look(call: Any, args: Any, keywords: Any, context: Any) -> Any:
        found.append(isinstance(context.module, nn.BatchNorm))
        return call(*args, **keywords)

    with nn.intercept_methods(look):
        key = jax.eval_shape(lambda: jax.random.key(0))
        jax.eval_shape(lambda key: module.init(key, x, train=False), key)
    return any(found)
