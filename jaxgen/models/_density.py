"""The densities of a variational autoencoder with one layer of latents."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.models import _modules
from jaxgen.models._autoencoding import Networks
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.losses import gaussian_log_density
from jaxgen.models.monte_carlo import map_samples
from jaxgen.models.pixels import Binarization
from jaxgen.types import Array, Density, Inputs, Labels, PyTree


def density_of(networks: Networks) -> Density:
    """The pure functions that evaluation needs of p(x, z) and q(z|x)."""
    return Density(
        observe=networks.observe,
        posterior=partial(_posterior, networks),
        sample_posterior=_sample_posterior,
        sample_prior=partial(_sample_prior, networks.latent_size),
        log_joint=partial(_log_joint, networks),
        simulate=partial(_simulate, networks),
        unnormalized=unnormalized_reason(networks.likelihood, networks.binarization),
        discrete=networks.likelihood.discrete,
    )


def sample_gaussian(key: Array, mean: Array, log_var: Array, num_samples: int = 1) -> Array:
    """Samples of N(mean, diag(exp(log_var))), differentiable in both: [...] -> [K, ...]."""
    noise = jax.random.normal(key, (num_samples, *mean.shape), mean.dtype)
    return mean[None] + jnp.exp(log_var / 2)[None] * noise


def unnormalized_reason(likelihood: Likelihood, binarization: Binarization) -> str | None:
    """Why log p(x|z) is not a log-likelihood, in one phrase; None where it is one."""
    if likelihood.discrete and binarization == "none":
        return "grey pixels under a Bernoulli likelihood"
    return likelihood.unnormalized


def simulate_images(likelihood: Likelihood, output: PyTree, key: Array) -> Array:
    """Draws from p(x|z), given its parameters.

    Raises:
      UserError: if the likelihood has no `sample`.
    """
    if likelihood.sample is None:
        raise UserError("expected a likelihood that has `sample`, got one without: give it one")
    return likelihood.sample(output, key)


def _posterior(
    networks: Networks, variables: PyTree, /, observations: Inputs, *, labels: Labels = None
) -> tuple[Array, Array]:
    checked = _modules.checked_labels(labels, networks.num_classes)
    return networks.encoded(variables, jnp.asarray(observations), checked, train=False)[0]


def _sample_posterior(
    variables: PyTree,
    /,
    posterior: tuple[Array, Array],
    key: Array,
    num_samples: int,
    *,
    labels: Labels = None,
) -> tuple[Array, Array]:
    mean, log_var = posterior
    latents = sample_gaussian(key, mean, log_var, num_samples)
    return latents, gaussian_log_density(latents, mean[None], log_var[None])


def _sample_prior(
    latent_size: int,
    variables: PyTree,
    /,
    num_samples: int,
    key: Array,
    *,
    labels: Labels = None,
) -> Array:
    return jax.random.normal(key, (num_samples, latent_size), _modules.dtype_of(variables))


def _log_joint(
    networks: Networks,
    variables: PyTree,
    /,
    observations: Inputs,
    latents: Array,
    *,
    labels: Labels = None,
) -> Array:
    checked = _modules.checked_labels(labels, networks.num_classes)
    images = jnp.asarray(observations)

    def decode(latents: Array, labels: Array | None, _: Array | None) -> tuple[PyTree, PyTree]:
        return networks.decoded(variables, latents, labels, train=False)

    def log_prob(output: PyTree) -> Array:
        return networks.likelihood.log_prob(output, images)

    log_likelihood, _ = map_samples(log_prob, decode, latents, images, checked, None)
    return log_likelihood + gaussian_log_density(latents, 0.0, 0.0)


def _simulate(
    networks: Networks,
    variables: PyTree,
    /,
    latents: Array,
    key: Array,
    *,
    labels: Labels = None,
) -> Array:
    checked = _modules.checked_labels(labels, networks.num_classes)
    output, _ = networks.decoded(variables, latents, checked, train=False)
    return simulate_images(networks.likelihood, output, key)
