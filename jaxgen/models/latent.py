"""What every model with an encoder and a decoder shares: from its mathematics to a Model."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.pixels import Binarization, binarize, check_binarization, unit_interval
from jaxgen.types import Array, Inputs, Labels, Metrics, Model, PyTree

Given = tuple[Array, ...]  # labels, one int32 [B], or none


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
    _checks.at_least("num_classes", num_classes, 0)

    def init(key: Array) -> PyTree:
        labels = (jnp.zeros(1, jnp.int32),) if num_classes else ()
        return networks.init(key, jnp.zeros((1, *image_shape)), *labels)

    def checked(labels: Labels) -> Given:
        if num_classes and labels is None:
            raise UserError("expected labels, int32 [N], got none: this system is conditional")
        if labels is not None and not num_classes:
            raise UserError("expected no labels: this system is not conditional, leave them out")
        return () if labels is None else (jnp.asarray(labels),)

    def metrics(
        variables: PyTree,
        images: Inputs,
        labels: Labels,
        key: Array,
        step: Array | int,
        train: bool,
    ) -> tuple[Metrics, dict]:
        binarize_key, terms_key = jax.random.split(key)
        images = binarize(unit_interval(images, image_shape), binarization, binarize_key)
        apply = nn.apply(terms, networks, mutable=["batch_stats"] if train else [])
        return apply(variables, images, checked(labels), terms_key, step, train)  # pyright: ignore[reportReturnType]

    def loss(
        variables: PyTree, images: Inputs, key: Array, step: Array | int, *, labels: Labels = None
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        per_image, updated = metrics(variables, images, labels, key, step, train=True)
        means = jax.tree.map(jnp.mean, per_image)
        return means["loss"], (means, updated.get("batch_stats", {}))

    def evaluate(
        variables: PyTree, images: Inputs, key: Array, step: Array | int, *, labels: Labels = None
    ) -> Metrics:
        return metrics(variables, images, labels, key, step, train=False)[0]

    def encode(variables: PyTree, images: Inputs, *, labels: Labels = None) -> tuple[Array, Array]:
        images = binarize(unit_interval(images, image_shape), binarization)
        given = checked(labels)
        apply = nn.apply(lambda networks: networks.encoder(images, False, *given), networks)
        return apply(variables)  # pyright: ignore[reportReturnType]

    def decode(variables: PyTree, latents: Inputs, *, labels: Labels = None) -> Array:
        given = checked(labels)
        apply = nn.apply(lambda networks: networks.decoder(latents, False, *given), networks)
        return likelihood.mean(apply(variables))

    def sample(variables: PyTree, num_samples: int, key: Array, *, labels: Labels = None) -> Array:
        if num_classes and labels is None:
            key, labels_key = jax.random.split(key)
            labels = jax.random.randint(labels_key, (num_samples,), 0, num_classes)
        latents = jax.random.normal(key, (num_samples, latent_size))
        return decode(variables, latents, labels=labels)

    def reconstruct(variables: PyTree, images: Inputs, *, labels: Labels = None) -> Array:
        mean, _ = encode(variables, images, labels=labels)
        return decode(variables, mean, labels=labels)

    return Model(
        init,
        loss,
        evaluate,
        image_shape,
        latent_size,
        num_classes,
        sample,
        decode,
        encode,
        reconstruct,
    )
