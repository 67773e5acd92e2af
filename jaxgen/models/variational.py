"""The variational autoencoder.

    p(z)   = N(0, I)
    p(x|z) = likelihood(decoder(z))
    q(z|x) = N(mean, diag(exp(log_var))),   mean, log_var = encoder(x)

    ELBO(x) = E_q(z|x)[log p(x|z)] − KL(q(z|x) ‖ p(z)) ≤ log p(x)

The expectation is estimated with z = mean + exp(log_var / 2) · noise, so that gradients reach the
encoder through z (Kingma and Welling, arXiv:1312.6114; Rezende et al., arXiv:1401.4082).
Given labels y, all of it is conditional on them: p(x|z, y) and q(z|x, y).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen.models import _modules, importance, losses, objectives
from jaxgen.models._autoencoding import Networks, networks_of
from jaxgen.models._density import density_of, sample_gaussian
from jaxgen.models._metrics import held_out_metrics, mean_loss
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.monte_carlo import Decoder, map_samples
from jaxgen.models.objectives import Objective
from jaxgen.models.pixels import Binarization
from jaxgen.models.precision import Precision
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree

PLAIN = Objective()


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int | None = None,
    binarization: Binarization = "none",
    num_classes: int = 0,
    objective: Objective = PLAIN,
    precision: Precision = "float32",
) -> Model:
    """The variational autoencoder: minimizes −E_q[log p(x|z)] + weight · KL(q(z|x) ‖ p(z)).

    Args:
      encoder: linen module, called as encoder(images, train=train) -> (mean, log_var), each
        [B, latent_size]; with labels=labels as well where the model is conditional.
      decoder: linen module, called as decoder(latents, train=train) -> parameters of the
        likelihood; with labels=labels likewise.
      likelihood: p(x|z).
      image_shape: (H, W, C).
      latent_size: D; latents are [B, D]. None to derive it from the encoder.
      binarization: of grey images; see `pixels.binarize`.
      num_classes: if not 0, the model is conditional on labels in 0..num_classes − 1.
      objective: the weight of the KL term, free bits, more samples, other bounds.
      precision: that the networks compute in; see `Precision`.

    Returns:
      A Model whose metrics are, in nats per image: `loss`, the objective; `elbo` ≤ log p(x);
      `kl` ≥ 0; `reconstruction` = −E_q[log p(x|z)]; and `kl_weight`, which only `loss` contains.

    Raises:
      UserError: if the objective is out of range or contradicts itself, or, from `init`, if a
        module gives an output of another shape.
    """
    objective = objectives.checked(objective)
    networks = networks_of(
        encoder, decoder, likelihood, image_shape, latent_size, num_classes, binarization, precision
    )
    metrics = partial(_metrics, networks, objective, objectives.kl_weight(objective))
    density = density_of(networks)
    return Model(
        networks.init,
        partial(mean_loss, metrics),
        partial(held_out_metrics, metrics),
        image_shape,
        networks.latent_size,
        networks.num_classes,
        networks.sample,
        networks.decode,
        networks.encode,
        networks.reconstruct,
        density,
        partial(importance.log_weights, density),
    )


def _metrics(
    networks: Networks,
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
    observe_key, noise_key = jax.random.split(key)
    observations = networks.observe(images, observe_key)
    checked = _modules.checked_labels(labels, networks.num_classes)
    encoder_key, decoder_key = (jax.random.fold_in(noise_key, i) for i in range(2))
    (mean, log_var), encoder_collections = networks.encoded(
        variables, observations, checked, train, encoder_key
    )
    latents = sample_gaussian(noise_key, mean, log_var, objective.num_samples)
    kl = losses.kl_of_dimensions(mean, log_var)
    weight = kl_weight(step)

    def decoder(latents: Array, labels: Array | None, key: Array | None) -> tuple[PyTree, PyTree]:
        return networks.decoded(variables, latents, labels, train, key)

    token = None
    if objective.bound == "dreg":
        latents, token = importance.reparameterized_again(latents)
        mean, log_var = jax.lax.stop_gradient((mean, log_var))
    log_likelihood, fit, decoder_collections = reconstruction_terms(
        networks.likelihood,
        decoder,
        latents,
        observations,
        checked,
        decoder_key,
        average_images=objective.average_images,
        in_one_batch=train and changes_in_training(variables, "decoder"),
    )
    if objective.bound == "elbo":
        loss = -fit + weight * losses.with_free_bits(kl, objective.free_bits)
    else:
        log_ratio = losses.log_normal(latents, 0.0, 0.0)
        log_ratio -= losses.log_normal(latents, mean[None], log_var[None])
        log_weights = log_likelihood + weight * log_ratio.sum(axis=-1)
        loss = -importance.bound(log_weights, token)
    collections = _modules.joined({"encoder": encoder_collections, "decoder": decoder_collections})
    return metrics_of(loss, log_likelihood, kl, weight), collections


def changes_in_training(variables: PyTree, part: str) -> bool:
    """Whether a submodule has collections beside its parameters."""
    return len(_modules.of_part(variables, part)) > 1


def reconstruction_terms(
    likelihood: Likelihood,
    decoder: Decoder,
    latents: Array,
    images: Array,
    labels: Array | None,
    key: Array | None,
    *,
    average_images: bool,
    in_one_batch: bool,
) -> tuple[Array, Array, PyTree]:
    """log p(x|z) [K, B], its part in the loss over the samples [B], and the collections.

    The latter is the mean over K, or log p of the mean of the K decoded images.
    """

    def log_prob(output: PyTree) -> Array:
        return likelihood.log_prob(output, images)

    def identity(output: PyTree) -> PyTree:
        return output

    output, collections = map_samples(
        identity if average_images else log_prob,
        decoder,
        latents,
        images,
        labels,
        key,
        in_one_batch=in_one_batch,
    )
    if average_images:
        return jax.vmap(log_prob)(output), log_prob(likelihood.average(output)), collections
    return output, output.mean(axis=0), collections


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
