"""The variational autoencoder of two stochastic layers (Burda et al., arXiv:1509.00519, section 5).

    p(x, z₁, z₂) = N(z₂; 0, I) · p(z₁|z₂) · p(x|z₁)
    q(z₁, z₂|x)  = q(z₁|x) · q(z₂|z₁)

    log w = log p(x|z₁) + log p(z₁|z₂)/q(z₁|x) + log p(z₂)/q(z₂|z₁)

All four conditionals of the latents are diagonal Gaussians whose mean and log_var are networks. The
KL of z₂ is known in closed form given z₁; that of z₁ is estimated with the samples.
"""

from typing import Any, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.models import importance, losses, objectives
from jaxgen.models.latent import Given, model_of
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.objectives import Objective, ObjectiveKeywords
from jaxgen.models.pixels import Binarization, binarize, unit_interval
from jaxgen.models.variational import compare, draw, metrics_of
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree


class Hierarchy(nn.Module):
    """The networks of two stochastic layers, initialised and applied together.

    Attributes:
      lower_encoder: (images, train) -> mean and log_var of q(z₁|x).
      upper_encoder: (z₁, train) -> mean and log_var of q(z₂|z₁).
      upper_decoder: (z₂, train) -> mean and log_var of p(z₁|z₂).
      lower_decoder: (z₁, train) -> parameters of p(x|z₁).
    """

    lower_encoder: Any
    upper_encoder: Any
    upper_decoder: Any
    lower_decoder: Any

    def __call__(self, images: Array) -> Array:
        """Visits every layer once, for `init`."""
        return self.decoder(self.encoder(images, False)[0], False)

    def encoder(self, images: Array, train: bool) -> tuple[Array, Array]:
        """Mean and log_var of q(z₂|z₁) at the mean of q(z₁|x)."""
        return self.upper_encoder(self.lower_encoder(images, train)[0], train)

    def decoder(self, latents: Array, train: bool) -> Array:
        """Parameters of p(x|z₁) at the mean of p(z₁|z₂)."""
        return self.lower_decoder(self.upper_decoder(latents, train)[0], train)


def hierarchical_vae(
    networks: Hierarchy,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    binarization: Binarization = "none",
    **objective: Unpack[ObjectiveKeywords],
) -> Model:
    """The VAE of two stochastic layers, with the objectives and metrics of `vae.vae`.

    Its latents are z₂ wherever `Model` speaks of latents; `sample` draws z₁ from p(z₁|z₂) where
    `decode` takes its mean, and `reconstruct` decodes the mean of q(z₁|x). `kl` is a mean of
    samples: never negative on average, but for one image it may be.

    Args:
      networks: the four conditionals.
      likelihood: p(x|z₁).
      image_shape: (H, W, C).
      latent_size: dimensions of z₂.
      binarization: what the model sees of grey images; see `pixels.binarize`.
      **objective: the fields of `objectives.Objective`.

    Raises:
      UserError: where the objective is out of range, or contradicts itself.
    """
    goal = Objective(**objective)
    objectives.check(goal)
    kl_weight = objectives.kl_weight(goal)

    def terms(
        networks: Hierarchy,
        images: Array,
        labels: Given,
        key: Array,
        step: Array | int,
        train: bool,
    ) -> Metrics:
        lower_key, upper_key = jax.random.split(key)
        mean, log_var = networks.lower_encoder(images, train)
        lower = draw(lower_key, mean, log_var, goal.num_samples)
        upper = draw(upper_key, *of_samples(networks.upper_encoder, lower, train))[0]
        weight = kl_weight(step)

        token, upper_encoder = None, networks.upper_encoder
        if goal.bound == "dreg":
            (lower, upper), token = importance.reparameterised_again((lower, upper))
            mean, log_var = jax.lax.stop_gradient((mean, log_var))
            upper_encoder = with_constant_parameters(upper_encoder)
        log_likelihood, fit = compare(
            likelihood, networks.lower_decoder, lower, images, labels, train, goal.average_images
        )
        upper_mean, upper_log_var = of_samples(upper_encoder, lower, train)
        prior_mean, prior_log_var = of_samples(networks.upper_decoder, upper, train)
        lower_ratio = losses.log_normal(lower, prior_mean, prior_log_var)
        lower_ratio -= losses.log_normal(lower, mean[None], log_var[None])
        upper_ratio = losses.log_normal(upper, 0.0, 0.0)
        upper_ratio -= losses.log_normal(upper, upper_mean, upper_log_var)
        upper_kl = losses.kl_of_dimensions(upper_mean, upper_log_var)
        kl = jnp.concatenate([-lower_ratio, upper_kl], axis=-1).mean(axis=0)

        if goal.bound == "elbo":
            loss = -fit + weight * losses.with_free_bits(kl, goal.free_bits)
        else:
            log_ratio = lower_ratio.sum(axis=-1) + upper_ratio.sum(axis=-1)
            loss = -importance.bound(log_likelihood + weight * log_ratio, token)
        return metrics_of(loss, log_likelihood, kl, weight)

    model = model_of(
        networks,
        likelihood,
        terms,
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
    )

    def sample(variables: PyTree, num_samples: int, key: Array, *, labels: Labels = None) -> Array:
        upper_key, lower_key = jax.random.split(key)
        upper = jax.random.normal(upper_key, (num_samples, latent_size))

        def decoded(networks: Hierarchy) -> Array:
            lower = draw(lower_key, *networks.upper_decoder(upper, False))[0]
            return networks.lower_decoder(lower, False)

        return likelihood.mean(nn.apply(decoded, networks)(variables))

    def reconstruct(variables: PyTree, images: Inputs, *, labels: Labels = None) -> Array:
        def decoded(networks: Hierarchy, images: Array) -> Array:
            return networks.lower_decoder(networks.lower_encoder(images, False)[0], False)

        seen = binarize(unit_interval(images, image_shape), binarization)
        return likelihood.mean(nn.apply(decoded, networks)(variables, seen))

    return model._replace(sample=sample, reconstruct=reconstruct)


def of_samples(network: Any, latents: Array, train: bool) -> PyTree:
    """Applies a network to several samples as one batch: [K, B, D] -> arrays [K, B, ...]."""
    flat = network(latents.reshape(-1, latents.shape[-1]), train)
    return jax.tree.map(lambda x: x.reshape(*latents.shape[:2], *x.shape[1:]), flat)


def with_constant_parameters(network: nn.Module) -> Any:
    """The network as a function that has no gradient in its parameters."""
    module, variables = network.unbind()
    return lambda *args: module.apply(jax.lax.stop_gradient(variables), *args)
