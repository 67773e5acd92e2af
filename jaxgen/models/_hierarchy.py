"""The networks of two stochastic layers as pure functions, and their densities."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.models import _modules
from jaxgen.models._autoencoding import RESIZE, check_gaussian
from jaxgen.models._density import sample_gaussian, simulate_images, unnormalized_reason
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.losses import bounded_log_var, gaussian_log_density
from jaxgen.models.monte_carlo import map_samples
from jaxgen.models.pixels import Binarization, binarize, unit_interval
from jaxgen.models.precision import Precision
from jaxgen.types import Array, Density, Inputs, Labels, PyTree

Gaussian = tuple[Array, Array]  # mean, log_var
Pair = tuple[Array, Array]  # z₁, z₂


class Hierarchy(nn.Module):
    """The networks of two stochastic layers; each is called as module(x, train=train).

    Attributes:
      lower_encoder: images -> mean and log_var of q(z₁|x).
      upper_encoder: z₁ -> mean and log_var of q(z₂|z₁).
      upper_decoder: z₂ -> mean and log_var of p(z₁|z₂).
      lower_decoder: z₁ -> parameters of p(x|z₁).
    """

    lower_encoder: Any
    upper_encoder: Any
    upper_decoder: Any
    lower_decoder: Any

    def __call__(self, images: Array) -> tuple[Gaussian, Gaussian, Gaussian, Any]:
        """What each of the four gives, for `init`."""
        lower = self.lower_encoder(images, train=False)
        upper = self.upper_encoder(lower[0], train=False)
        prior = self.upper_decoder(upper[0], train=False)
        return lower, upper, prior, self.lower_decoder(prior[0], train=False)

    def derived_latent_size(self, image_shape: tuple[int, int, int]) -> int:
        """Dimensions of z₂."""
        images = jnp.zeros((1, *image_shape))
        key = jax.eval_shape(lambda: jax.random.key(0))
        outputs: Any = jax.eval_shape(self.init_with_output, key, images)[0]
        return outputs[1][0].shape[-1]


class Layers(NamedTuple):
    """A `Hierarchy` as pure functions of its variables, and what is known of its images."""

    networks: Hierarchy
    likelihood: Likelihood
    image_shape: tuple[int, int, int]
    latent_size: int
    binarization: Binarization
    precision: Precision

    @property
    def names(self) -> tuple[str, ...]:
        """The four networks."""
        return ("lower_encoder", "upper_encoder", "upper_decoder", "lower_decoder")

    def init(self, key: Array) -> PyTree:
        """key -> variables; the outputs are checked for their shapes."""
        images = jnp.zeros((1, *self.image_shape))
        outputs, variables = _modules.init(self.networks, key, images)
        lower, upper, prior, output = outputs
        check_gaussian("the upper encoder", upper, self.latent_size)
        check_gaussian("the upper decoder", prior, lower[0].shape[-1])
        decoded = jax.eval_shape(self.likelihood.mean, output)
        _modules.check_shape("images of the lower decoder", decoded, self.image_shape, RESIZE)
        return variables

    def observe(self, images: Inputs, key: Array | None = None) -> Array:
        """Images as the likelihood sees them."""
        return binarize(unit_interval(images, self.image_shape), self.binarization, key)

    def apply(
        self, name: str, variables: PyTree, x: Array, train: bool = False, key: Array | None = None
    ) -> tuple[Any, PyTree]:
        """The output of one network, and its collections."""
        module, own = getattr(self.networks, name), _modules.of_part(variables, name)
        output, collections = _modules.apply(
            module, own, x, train=train, key=key, precision=self.precision
        )
        if name != "lower_decoder":
            mean, log_var = output
            output = mean, bounded_log_var(log_var)
        return output, collections

    def evaluate(self, name: str, variables: PyTree, x: Array) -> Any:
        """The output of one network in evaluation mode."""
        return self.apply(name, variables, x)[0]

    def encode(self, variables: PyTree, /, images: Inputs, *, labels: Labels = None) -> Gaussian:
        """q(z₂|z₁) at the mean of q(z₁|x)."""
        _modules.checked_labels(labels, 0)
        mean, _ = self.evaluate("lower_encoder", variables, self.observe(images))
        return self.evaluate("upper_encoder", variables, mean)

    def decode(self, variables: PyTree, /, latents: Inputs, *, labels: Labels = None) -> Array:
        """The mean image at the mean of p(z₁|z₂)."""
        _modules.checked_labels(labels, 0)
        mean, _ = self.evaluate("upper_decoder", variables, jnp.asarray(latents))
        return self.likelihood.mean(self.evaluate("lower_decoder", variables, mean))

    def reconstruct(self, variables: PyTree, /, images: Inputs, *, labels: Labels = None) -> Array:
        """The mean image at the mean of q(z₁|x)."""
        _modules.checked_labels(labels, 0)
        mean, _ = self.evaluate("lower_encoder", variables, self.observe(images))
        return self.likelihood.mean(self.evaluate("lower_decoder", variables, mean))

    def sample(
        self, variables: PyTree, /, num_samples: int, key: Array, *, labels: Labels = None
    ) -> Array:
        """The mean image at draws of z₂ and z₁."""
        lower, _ = _sample_prior(self, variables, num_samples, key, labels=labels)
        return self.likelihood.mean(self.evaluate("lower_decoder", variables, lower))


def density_of(layers: Layers) -> Density:
    """The pure functions that evaluation needs; latents are (z₁, z₂)."""
    return Density(
        observe=layers.observe,
        posterior=partial(_posterior, layers),
        sample_posterior=partial(_sample_posterior, layers),
        sample_prior=partial(_sample_prior, layers),
        log_joint=partial(_log_joint, layers),
        simulate=partial(_simulate, layers),
        unnormalized=unnormalized_reason(layers.likelihood, layers.binarization),
        discrete=layers.likelihood.discrete,
    )


def of_samples(network: Callable[[Array], PyTree], latents: Array) -> PyTree:
    """Applies a network to several samples as one batch: [K, B, D] -> arrays [K, B, ...]."""
    flat = network(latents.reshape(-1, latents.shape[-1]))
    return jax.tree.map(lambda x: x.reshape(*latents.shape[:2], *x.shape[1:]), flat)


def _posterior(
    layers: Layers, variables: PyTree, /, observations: Inputs, *, labels: Labels = None
) -> Gaussian:
    _modules.checked_labels(labels, 0)
    return layers.evaluate("lower_encoder", variables, jnp.asarray(observations))


def _sample_posterior(
    layers: Layers,
    variables: PyTree,
    /,
    posterior: Gaussian,
    key: Array,
    num_samples: int,
    *,
    labels: Labels = None,
) -> tuple[Pair, Array]:
    mean, log_var = posterior
    lower_key, upper_key = jax.random.split(key)
    lower = sample_gaussian(lower_key, mean, log_var, num_samples)
    log_q = gaussian_log_density(lower, mean[None], log_var[None])
    mean, log_var = of_samples(partial(layers.evaluate, "upper_encoder", variables), lower)
    upper = sample_gaussian(upper_key, mean, log_var)[0]
    return (lower, upper), log_q + gaussian_log_density(upper, mean, log_var)


def _sample_prior(
    layers: Layers,
    variables: PyTree,
    /,
    num_samples: int,
    key: Array,
    *,
    labels: Labels = None,
) -> Pair:
    _modules.checked_labels(labels, 0)
    upper_key, lower_key = jax.random.split(key)
    shape = (num_samples, layers.latent_size)
    upper = jax.random.normal(upper_key, shape, _modules.dtype_of(variables))
    mean, log_var = layers.evaluate("upper_decoder", variables, upper)
    return sample_gaussian(lower_key, mean, log_var)[0], upper


def _log_joint(
    layers: Layers,
    variables: PyTree,
    /,
    observations: Inputs,
    latents: Pair,
    *,
    labels: Labels = None,
) -> Array:
    _modules.checked_labels(labels, 0)
    lower, upper = latents
    images = jnp.asarray(observations)

    def log_prob(output: PyTree) -> Array:
        return layers.likelihood.log_prob(output, images)

    log_likelihood, _ = map_samples(
        log_prob,
        lambda latents, _, key: layers.apply("lower_decoder", variables, latents),
        lower,
        images,
        None,
        None,
    )
    mean, log_var = of_samples(partial(layers.evaluate, "upper_decoder", variables), upper)
    log_prior = gaussian_log_density(upper, 0.0, 0.0)
    return log_likelihood + gaussian_log_density(lower, mean, log_var) + log_prior


def _simulate(
    layers: Layers,
    variables: PyTree,
    /,
    latents: Pair,
    key: Array,
    *,
    labels: Labels = None,
) -> Array:
    _modules.checked_labels(labels, 0)
    output = layers.evaluate("lower_decoder", variables, latents[0])
    return simulate_images(layers.likelihood, output, key)
