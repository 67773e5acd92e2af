"""What every model with an encoder and a decoder shares: from its mathematics to a Model."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.errors import UserError, expect_at_least
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.pixels import Binarization, binarize, check_binarization, unit_interval
from jaxgen.types import Array, Metrics, Model, PyTree

Labels = tuple[Array, ...]  # one int32 [B], or none


class Autoencoder(nn.Module):
    """An encoder and a decoder that are initialised and applied together.

    `encoder` maps (images, train, *labels) -> (mean, log_var), each [B, latent_size]; `decoder`
    maps (latents, train, *labels) -> the parameters of the likelihood.
    """

    encoder: Any
    decoder: Any

    def __call__(self, images: Array, *labels: Array) -> Array:
        """Visits every layer once, for `init`."""
        mean, _ = self.encoder(images, False, *labels)
        return self.decoder(mean, False, *labels)


def model_of(
    networks: Any,
    likelihood: Likelihood,
    terms: Callable[..., Metrics],
    *,
    image_shape: tuple[int, int, int],
    latent_size: int,
    binarization: Binarization,
    num_classes: int = 0,
) -> Model:
    """A Model from its mathematics.

    `terms` maps (bound networks, images, labels, key, step, train) to metrics of each image, [B];
    `networks` is a linen module that has an `encoder` and a `decoder` as `Autoencoder` does.
    """
    check_binarization(binarization)
    expect_at_least("num_classes", num_classes, 0)

    def init(key: Array) -> PyTree:
        labels = (jnp.zeros(1, jnp.int32),) if num_classes else ()
        return networks.init(key, jnp.zeros((1, *image_shape)), *labels)

    def checked(labels: Labels) -> Labels:
        if num_classes and not labels:
            raise UserError("expected labels, int32 [B], got none: this system is conditional")
        if labels and not num_classes:
            raise UserError("expected no labels: this system is not conditional, leave them out")
        return labels

    def metrics(
        variables: PyTree, images: Array, labels: Labels, key: Array, step: Array, train: bool
    ) -> tuple[Metrics, dict]:
        binarize_key, terms_key = jax.random.split(key)
        images = binarize(unit_interval(images, image_shape), binarization, binarize_key)
        apply = nn.apply(terms, networks, mutable=["batch_stats"] if train else [])
        return apply(variables, images, checked(labels), terms_key, step, train)  # pyright: ignore[reportReturnType]

    def loss(
        variables: PyTree, images: Array, key: Array, step: Array, *labels: Array
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        per_image, updated = metrics(variables, images, labels, key, step, train=True)
        means = jax.tree.map(jnp.mean, per_image)
        return means["loss"], (means, updated.get("batch_stats", {}))

    def evaluate(
        variables: PyTree, images: Array, key: Array, step: Array, *labels: Array
    ) -> Metrics:
        return metrics(variables, images, labels, key, step, train=False)[0]

    def encode(variables: PyTree, images: Array, *labels: Array) -> tuple[Array, Array]:
        images = binarize(unit_interval(images, image_shape), binarization)
        given = checked(labels)
        apply = nn.apply(lambda networks: networks.encoder(images, False, *given), networks)
        return apply(variables)  # pyright: ignore[reportReturnType]

    def decode(variables: PyTree, latents: Array, *labels: Array) -> Array:
        given = checked(labels)
        apply = nn.apply(lambda networks: networks.decoder(latents, False, *given), networks)
        return likelihood.mean(apply(variables))

    def sample(variables: PyTree, num_samples: int, key: Array, *labels: Array) -> Array:
        if num_classes and not labels:
            key, labels_key = jax.random.split(key)
            labels = (jax.random.randint(labels_key, (num_samples,), 0, num_classes),)
        latents = jax.random.normal(key, (num_samples, latent_size))
        return decode(variables, latents, *labels)

    def reconstruct(variables: PyTree, images: Array, *labels: Array) -> Array:
        mean, _ = encode(variables, images, *labels)
        return decode(variables, mean, *labels)

    return Model(init, loss, evaluate, sample, decode, encode, reconstruct)
