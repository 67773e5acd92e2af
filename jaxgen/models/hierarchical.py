"""The variational autoencoder of two stochastic layers (Burda et al., arXiv:1509.00519, section 5).

    p(x, z₁, z₂) = N(z₂; 0, I) · p(z₁|z₂) · p(x|z₁)
    q(z₁, z₂|x)  = q(z₁|x) · q(z₂|z₁)

    log w = log p(x|z₁) + log p(z₁|z₂)/q(z₁|x) + log p(z₂)/q(z₂|z₁)

All four conditionals of the latents are diagonal Gaussians whose mean and log_var are networks. The
KL of z₂ is known in closed form given z₁; that of z₁ is estimated with the samples.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.models import _modules, importance, losses, objectives
from jaxgen.models._density import sample_gaussian
from jaxgen.models._hierarchy import Hierarchy, Layers, density_of, of_samples
from jaxgen.models._metrics import held_out_metrics, mean_loss
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.objectives import Objective
from jaxgen.models.pixels import Binarization, check_binarization
from jaxgen.models.precision import Precision, check_precision
from jaxgen.models.variational import (
    PLAIN,
    changes_in_training,
    metrics_of,
    reconstruction_terms,
)
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree

__all__ = ["Hierarchy", "hierarchical_vae"]


def hierarchical_vae(
    networks: Hierarchy,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int | None = None,
    binarization: Binarization = "none",
    objective: Objective = PLAIN,
    precision: Precision = "float32",
) -> Model:
    """The VAE of two stochastic layers, with the objectives and metrics of `vae`.

    `latents` of a `Model` are z₂ here, but for those of its `density`, which are (z₁, z₂). `sample`
    draws z₁ from p(z₁|z₂) where `decode` takes its mean, and `reconstruct` decodes the mean of
    q(z₁|x). `kl` is a mean of samples: its expectation is not negative, its value for one image may
    be.

    Args:
      networks: the four conditionals.
      likelihood: p(x|z₁).
      image_shape: (H, W, C).
      latent_size: dimensions of z₂. None to derive it from the networks.
      binarization: of grey images; see `pixels.binarize`.
      objective: the weight of the KL term, free bits, more samples, other bounds.
      precision: that the networks compute in; see `Precision`.

    Raises:
      UserError: if the objective is out of range or contradicts itself, or, from `init`, if a
        module gives an output of another shape.
    """
    objective = objectives.checked(objective)
    check_binarization(binarization)
    check_precision(precision)
    if latent_size is None:
        latent_size = networks.derived_latent_size(image_shape)
    latent_size = _checks.whole_number("latent_size", latent_size)
    layers = Layers(networks, likelihood, image_shape, latent_size, binarization, precision)
    metrics = partial(_metrics, layers, objective, objectives.kl_weight(objective))
    density = density_of(layers)
    return Model(
        layers.init,
        partial(mean_loss, metrics),
        partial(held_out_metrics, metrics),
        image_shape,
        latent_size,
        0,
        layers.sample,
        layers.decode,
        layers.encode,
        layers.reconstruct,
        density,
        partial(importance.log_weights, density),
    )


def _metrics(
    layers: Layers,
    objective: Objective,
    kl_weight: objectives.KLWeight,
    variables: PyTree,
    images: Inputs,
    key: Array,
    step: ArrayLike,
    labels: Labels,
    train: bool,
    /,
) -> tuple[Metrics, PyTree]:
    """Metrics of each image, [B], and the collections after the call."""
    _modules.checked_labels(labels, 0)
    observe_key, noise_key = jax.random.split(key)
    observations = layers.observe(images, observe_key)
    lower_key, upper_key = jax.random.split(noise_key)
    keys = {name: jax.random.fold_in(noise_key, i) for i, name in enumerate(layers.names)}
    collections = {}

    def call(name: str, x: Array, variables: PyTree = variables) -> PyTree:
        output, collections[name] = layers.apply(name, variables, x, train, keys[name])
        return output

    mean, log_var = call("lower_encoder", observations)
    lower = sample_gaussian(lower_key, mean, log_var, objective.num_samples)
    upper_mean, upper_log_var = of_samples(partial(call, "upper_encoder"), lower)
    upper = sample_gaussian(upper_key, upper_mean, upper_log_var)[0]
    weight = kl_weight(step)

    token = None
    if objective.bound == "dreg":
        (lower, upper), token = importance.reparameterized_again((lower, upper))
        mean, log_var = jax.lax.stop_gradient((mean, log_var))
        constant = _modules.with_constant_params(variables)
        upper_encoder = partial(call, "upper_encoder", variables=constant)
        upper_mean, upper_log_var = of_samples(upper_encoder, lower)
    log_likelihood, fit, collections["lower_decoder"] = reconstruction_terms(
        layers.likelihood,
        lambda latents, _, key: layers.apply("lower_decoder", variables, latents, train, key),
        lower,
        observations,
        None,
        keys["lower_decoder"],
        average_images=objective.average_images,
        in_one_batch=train and changes_in_training(variables, "lower_decoder"),
    )
    prior_mean, prior_log_var = of_samples(partial(call, "upper_decoder"), upper)
    lower_ratio = losses.log_normal(lower, prior_mean, prior_log_var)
    lower_ratio -= losses.log_normal(lower, mean[None], log_var[None])
    upper_ratio = losses.log_normal(upper, 0.0, 0.0)
    upper_ratio -= losses.log_normal(upper, upper_mean, upper_log_var)
    upper_kl = losses.kl_of_dimensions(upper_mean, upper_log_var)
    kl = jnp.concatenate([-lower_ratio, upper_kl], axis=-1).mean(axis=0)

    if objective.bound == "elbo":
        loss = -fit + weight * losses.with_free_bits(kl, objective.free_bits)
    else:
        log_ratio = lower_ratio.sum(axis=-1) + upper_ratio.sum(axis=-1)
        loss = -importance.bound(log_likelihood + weight * log_ratio, token)
    return metrics_of(loss, log_likelihood, kl, weight), _modules.joined(collections)
