"""Networks of dense layers: MLP encoder and decoder, generator and critic.

`train` is static and only affects BatchNorm. Labels are appended to the input as one-hot vectors.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.networks.layers import RunningVariance, batch_norm, dense
from jaxgen.types import Array


class HiddenLayers(nn.Module):
    """Dense → activation → BatchNorm (if `batch_norm`), once for each of `sizes`."""

    sizes: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    batch_norm: bool = False
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[B, features] -> [B, sizes[-1]]."""
        for i, size in enumerate(self.sizes):
            x = self.activation(dense(x, size, f"dense_{i}"))
            if self.batch_norm:
                x = batch_norm(x, train, f"norm_{i}", running_variance=self.running_variance)
        return x


class MLPEncoder(nn.Module):
    """Images to the parameters of a diagonal Gaussian: hidden layers, then two dense heads."""

    hidden_sizes: Sequence[int]
    latent_size: int
    activation: Callable[[Array], Array] = nn.relu
    batch_norm: bool = False
    num_classes: int = 0
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(
        self, images: Array, train: bool, labels: Array | None = None
    ) -> tuple[Array, Array]:
        """[B, H, W, C] -> (mean, log_var), each [B, latent_size]."""
        x = with_labels(images.reshape(images.shape[0], -1), labels, self.num_classes)
        hidden = HiddenLayers(
            self.hidden_sizes,
            self.activation,
            self.batch_norm,
            self.running_variance,
            name="hidden",
        )
        x = hidden(x, train)
        return dense(x, self.latent_size, "mean"), dense(x, self.latent_size, "log_var")


class MLPDecoder(nn.Module):
    """Latents to one number per pixel: hidden layers, then a dense layer without activation."""

    hidden_sizes: Sequence[int]
    image_shape: tuple[int, int, int]
    activation: Callable[[Array], Array] = nn.relu
    batch_norm: bool = False
    num_classes: int = 0
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(self, latents: Array, train: bool, labels: Array | None = None) -> Array:
        """[B, latent_size] -> [B, *image_shape]."""
        latents = with_labels(latents, labels, self.num_classes)
        hidden = HiddenLayers(
            self.hidden_sizes,
            self.activation,
            self.batch_norm,
            self.running_variance,
            name="hidden",
        )
        x = dense(hidden(latents, train), math.prod(self.image_shape), "output")
        return x.reshape(-1, *self.image_shape)


def with_labels(x: Array, labels: Array | None, num_classes: int) -> Array:
    """[B, features] -> [B, features + num_classes], labels as one-hot vectors at the end."""
    if labels is None:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(labels, num_classes, dtype=x.dtype)], axis=-1)


class MLPGenerator(nn.Module):
    """Latents to images in [−1, 1]: an `MLPDecoder` with BatchNorm that ends in tanh."""

    hidden_sizes: Sequence[int]
    image_shape: tuple[int, int, int]
    activation: Callable[[Array], Array] = nn.leaky_relu
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        """[B, latent_size] -> [B, *image_shape]."""
        decoder = MLPDecoder(
            self.hidden_sizes,
            self.image_shape,
            self.activation,
            batch_norm=True,
            running_variance=self.running_variance,
            name="decoder",
        )
        return nn.tanh(decoder(latents, train))


class MLPCritic(nn.Module):
    """Images to scores: hidden layers without BatchNorm, then one dense unit."""

    hidden_sizes: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        """[B, H, W, C] -> [B]."""
        x = images.reshape(images.shape[0], -1)
        x = HiddenLayers(self.hidden_sizes, self.activation, name="hidden")(x, train)
        return dense(x, 1, "score")[:, 0]
