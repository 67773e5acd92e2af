"""The plain autoencoder, without noise or prior: the baseline of the variational one."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen.models import _modules
from jaxgen.models._autoencoding import Networks, networks_of
from jaxgen.models._metrics import held_out_metrics, mean_loss
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.pixels import Binarization
from jaxgen.models.precision import Precision
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    *,
    image_shape: tuple[int, int, int],
    latent_size: int | None = None,
    binarization: Binarization = "none",
    num_classes: int = 0,
    precision: Precision = "float32",
) -> Model:
    """The plain autoencoder: minimizes −log p(x|z) at z = mean(x).

    The encoder's log_var is ignored, and `encode` gives log_var = −∞: the code is a point. The
    codes do not follow the prior, so images decoded from z ~ N(0, I), which `sample` gives, need
    not look like the data.

    Args:
      encoder: linen module, as `vae` takes it.
      decoder: linen module, as `vae` takes it.
      likelihood: p(x|z).
      image_shape: (H, W, C).
      latent_size: D; codes are [B, D]. None to derive it from the encoder.
      binarization: of grey images; see `pixels.binarize`.
      num_classes: if not 0, the model is conditional on labels in 0..num_classes − 1.
      precision: that the networks compute in; see `Precision`.

    Returns:
      A Model whose metrics are `loss` and `reconstruction`, in nats per image; without densities.

    Raises:
      UserError: if an argument is out of range, or, from `init`, if a module gives an output of
        another shape.
    """
    networks = networks_of(
        encoder, decoder, likelihood, image_shape, latent_size, num_classes, binarization, precision
    )
    metrics = partial(_metrics, networks)
    return Model(
        networks.init,
        partial(mean_loss, metrics),
        partial(held_out_metrics, metrics),
        image_shape,
        networks.latent_size,
        networks.num_classes,
        networks.sample,
        networks.decode,
        partial(_encode, networks),
        networks.reconstruct,
    )


def _metrics(
    networks: Networks,
    variables: PyTree,
    images: Inputs,
    key: Array,
    step: ArrayLike,
    labels: Labels,
    train: bool,
    /,
) -> tuple[Metrics, PyTree]:
    observe_key, modules_key = jax.random.split(key)
    observations = networks.observe(images, observe_key)
    checked = _modules.checked_labels(labels, networks.num_classes)
    encoder_key, decoder_key = jax.random.split(modules_key)
    (code, _), encoder = networks.encoded(variables, observations, checked, train, encoder_key)
    output, decoder = networks.decoded(variables, code, checked, train, decoder_key)
    reconstruction = -networks.likelihood.log_prob(output, observations)
    collections = _modules.joined({"encoder": encoder, "decoder": decoder})
    return {"loss": reconstruction, "reconstruction": reconstruction}, collections


def _encode(
    networks: Networks, variables: PyTree, /, images: Inputs, *, labels: Labels = None
) -> tuple[Array, Array]:
    code, _ = networks.encode(variables, images, labels=labels)
    return code, jnp.full_like(code, -jnp.inf)
