"""The variational autoencoder, and the plain autoencoder it is explained against.

    p(z)   = N(0, I)
    p(x|z) = likelihood(decoder(z))
    q(z|x) = N(mean, diag(exp(log_var))),   mean, log_var = encoder(x)

    ELBO(x) = E_q(z|x)[log p(x|z)] − KL(q(z|x) ‖ p(z)) ≤ log p(x)

The expectation is estimated with z = mean + exp(log_var / 2) · noise, so that gradients reach the
encoder through z (Kingma and Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).
Given labels y, all of it is conditional on them: p(x|z, y) and q(z|x, y).
"""

from typing import Any, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen.models import importance, losses, objectives
from jaxgen.models.latent import Autoencoder, Given, model_of
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.monte_carlo import map_samples
from jaxgen.models.objectives import Objective, ObjectiveKeywords
from jaxgen.models.pixels import Binarization
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    binarization: Binarization = "none",
    num_classes: int = 0,
    **objective: Unpack[ObjectiveKeywords],
) -> Model:
    """The variational autoencoder: minimise −E_q[log p(x|z)] + weight · KL(q(z|x) ‖ p(z)).

    Args:
      encoder: linen module, (images, train, *labels) -> (mean, log_var).
      decoder: linen module, (latents, train, *labels) -> parameters of the likelihood.
      likelihood: p(x|z).
      image_shape: (H, W, C).
      latent_size: D; latents are [B, D].
      binarization: what the model sees of grey images; see `pixels.binarize`.
      num_classes: where not 0, the model is conditional on labels in 0..num_classes − 1.
      **objective: the fields of `objectives.Objective`: the weight of the KL term, free bits,
        more samples, other bounds.

    Returns:
      A Model whose metrics are, in nats an image: `loss`, the objective; `elbo` ≤ log p(x);
      `kl` ≥ 0; `reconstruction` = −E_q[log p(x|z)]; and `kl_weight`, which `loss` alone carries.

    Raises:
      UserError: where the objective is out of range, or contradicts itself.
    """
    goal = Objective(**objective)
    objectives.check(goal)
    kl_weight = objectives.kl_weight(goal)

    def terms(
        networks: Autoencoder,
        images: Array,
        labels: Given,
        key: Array,
        step: Array | int,
        train: bool,
    ) -> Metrics:
        mean, log_var = networks.encoder(images, train, *labels)
        latents = draw(key, mean, log_var, goal.num_samples)
        kl = losses.kl_of_dimensions(mean, log_var)
        weight = kl_weight(step)

        token = None
        if goal.bound == "dreg":
            latents, token = importance.reparameterised_again(latents)
            mean, log_var = jax.lax.stop_gradient((mean, log_var))
        log_likelihood, fit = compare(
            likelihood, networks.decoder, latents, images, labels, train, goal.average_images
        )
        if goal.bound == "elbo":
            loss = -fit + weight * losses.with_free_bits(kl, goal.free_bits)
        else:
            log_ratio = losses.log_normal(latents, 0.0, 0.0)
            log_ratio -= losses.log_normal(latents, mean[None], log_var[None])
            log_weights = log_likelihood + weight * log_ratio.sum(axis=-1)
            loss = -importance.bound(log_weights, token)
        return metrics_of(loss, log_likelihood, kl, weight)

    return model_of(
        Autoencoder(encoder, decoder),
        likelihood,
        terms,
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
        num_classes=num_classes,
    )


def draw(key: Array, mean: Array, log_var: Array, num_samples: int = 1) -> Array:
    """Samples of N(mean, diag(exp(log_var))) as functions of its parameters: [..] -> [K, ...]."""
    noise = jax.random.normal(key, (num_samples, *mean.shape), mean.dtype)
    return mean[None] + jnp.exp(log_var / 2)[None] * noise


def compare(
    likelihood: Likelihood,
    decoder: nn.Module,
    latents: Array,
    images: Array,
    labels: Given,
    train: bool,
    average_images: bool = False,
) -> tuple[Array, Array]:
    """log p(x|z), [K, B], and what the loss makes of it over the samples, [B]."""

    def log_prob(output: PyTree) -> Array:
        return likelihood.log_prob(output, images)

    if average_images:
        output = map_samples(lambda output: output, decoder, latents, images, labels, train)
        return jax.vmap(log_prob)(output), log_prob(likelihood.average(output))
    log_likelihood = map_samples(log_prob, decoder, latents, images, labels, train)
    return log_likelihood, log_likelihood.mean(axis=0)


def metrics_of(loss: Array, log_likelihood: Array, kl: Array, weight: ArrayLike) -> Metrics:
    """The metrics of a VAE, each [B], from its loss [B], log p(x|z) [K, B] and KL [B, D]."""
    reconstruction, total_kl = -log_likelihood.mean(axis=0), kl.sum(axis=-1)
    return {
        "loss": loss,
        "elbo": -(reconstruction + total_kl),
        "kl": total_kl,
        "reconstruction": reconstruction,
        "kl_weight": jnp.full_like(loss, weight),
    }


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    binarization: Binarization = "none",
) -> Model:
    """The plain autoencoder: minimise −log p(x|z) at z = mean(x), without noise or prior.

    Takes what `vae` takes; the encoder's log_var is ignored, and `encode` gives log_var = −∞: the
    code is a point. Its metrics are `loss` and `reconstruction`, in nats an image. Nothing has
    told the codes to follow the prior, so `sample`, which decodes z ~ N(0, I), shows what the KL
    term is for.
    """

    def terms(
        networks: Autoencoder,
        images: Array,
        labels: Given,
        key: Array,
        step: Array | int,
        train: bool,
    ) -> Metrics:
        code, _ = networks.encoder(images, train)
        reconstruction = -likelihood.log_prob(networks.decoder(code, train), images)
        return {"loss": reconstruction, "reconstruction": reconstruction}

    model = model_of(
        Autoencoder(encoder, decoder),
        likelihood,
        terms,
        image_shape=image_shape,
        latent_size=latent_size,
        binarization=binarization,
    )

    encode_point: Any = model.encode

    def encode(variables: PyTree, images: Inputs, *, labels: Labels = None) -> tuple[Array, Array]:
        code, _ = encode_point(variables, images)
        return code, jnp.full_like(code, -jnp.inf)

    return model._replace(encode=encode)
