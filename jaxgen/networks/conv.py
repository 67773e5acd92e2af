"""Convolutional encoders that halve an image layer by layer, and a decoder that doubles it.

With BatchNorm a layer is convolution → BatchNorm → ReLU, and the convolution has no bias: BatchNorm
subtracts it again, so its gradient would be rounding noise. `train` is static and only affects
BatchNorm.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from jaxgen import _checks
from jaxgen.convolutions import Conv, ConvTranspose
from jaxgen.errors import UserError
from jaxgen.networks.layers import batch_norm, dense, symmetric_uniform
from jaxgen.networks.pooling import max_pool_2x2
from jaxgen.networks.rematerialization import save_for_backward
from jaxgen.types import Array


class PoolingEncoder(nn.Module):
    """Convolution 3×3 → ReLU → max pooling 2×2, once for each of `channels`; two dense heads."""

    channels: Sequence[int]
    latent_size: int
    batch_norm: bool = False

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        """[B, H, W, C] -> (mean, log_var), each [B, latent_size]."""
        x = images
        check_divisible(x.shape[1:3], self.channels)
        for i, features in enumerate(self.channels):
            x = convolution(x, features, 3, 1, 1, f"conv_{i}", bias=not self.batch_norm)
            if self.batch_norm:
                x = batch_norm(x, train, f"norm_{i}")
            # ReLU is monotone: after pooling it gives the same result for a quarter of the work.
            x = nn.relu(max_pool_2x2(x))
        x = x.reshape(x.shape[0], -1)
        return dense(x, self.latent_size, "mean"), dense(x, self.latent_size, "log_var")


class StridedEncoder(nn.Module):
    """Convolution 4×4 of stride 2 → ReLU, once for each of `channels`; two dense heads."""

    channels: Sequence[int]
    latent_size: int
    batch_norm: bool = False

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        """[B, H, W, C] -> (mean, log_var), each [B, latent_size]."""
        x = images
        check_divisible(x.shape[1:3], self.channels)
        for i, features in enumerate(self.channels):
            x = convolution(x, features, 4, 2, 1, f"conv_{i}", bias=not self.batch_norm)
            if self.batch_norm:
                x = batch_norm(x, train, f"norm_{i}")
            x = nn.relu(x)
        x = x.reshape(x.shape[0], -1)
        return dense(x, self.latent_size, "mean"), dense(x, self.latent_size, "log_var")


class ConvDecoder(nn.Module):
    """Dense → a small map; transposed convolutions of stride 2 double it up to the image.

    Attributes:
      channels: of the feature maps, from the dense layer to the last one before the image.
      image_shape: (H, W, C), H and W multiples of 2 ** len(channels).
      kernel_size: 2 (the outputs of two pixels do not overlap) or 4 (they do).
      batch_norm: BatchNorm after all transposed convolutions but the last.
    """

    channels: Sequence[int]
    image_shape: tuple[int, int, int]
    kernel_size: int = 4
    batch_norm: bool = False

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        """[B, latent_size] -> [B, *image_shape], without activation after the last layer."""
        height, width, image_channels = self.image_shape
        check_divisible((height, width), self.channels)
        halvings = 2 ** len(self.channels)
        map_shape = (height // halvings, width // halvings, self.channels[0])
        x = dense(latents, math.prod(map_shape), "dense").reshape(-1, *map_shape)
        for i, features in enumerate((*self.channels[1:], image_channels)):
            last = i == len(self.channels) - 1
            bias = last or not self.batch_norm
            x = transposed(x, features, self.kernel_size, f"conv_{i}", bias)
            if math.prod(x.shape[1:]) <= math.prod(self.image_shape):
                x = save_for_backward(x)
            if self.batch_norm and not last:
                x = batch_norm(x, train, f"norm_{i}")
            x = x if last else nn.relu(x)
        return x


def convolution(
    x: Array, features: int, kernel_size: int, strides: int, padding: int, name: str, bias: bool
) -> Array:
    """A convolution that starts at U(−1/√fan_in, 1/√fan_in), fan_in = C · kernel_size²."""
    _checks.at_least(f"the channels of layer {name}", features, 1)
    init = symmetric_uniform(1 / (kernel_size * math.sqrt(x.shape[-1])))
    options: Any = {"use_bias": bias, "kernel_init": init, "bias_init": init, "name": name}
    return Conv(features, kernel_size, strides, padding, **options)(x)


def transposed(x: Array, features: int, kernel_size: int, name: str, bias: bool) -> Array:
    """A transposed convolution of stride 2 that doubles height and width.

    It starts as PyTorch's does, at U(−1/√n, 1/√n) with n = features · kernel_size²: PyTorch counts
    the outputs here, not the inputs.
    """
    _checks.at_least(f"the channels of layer {name}", features, 1)
    init = symmetric_uniform(1 / (kernel_size * math.sqrt(features)))
    options: Any = {"use_bias": bias, "kernel_init": init, "bias_init": init, "name": name}
    return ConvTranspose(features, kernel_size, 2, (kernel_size - 2) // 2, **options)(x)


def check_divisible(size: Sequence[int], channels: Sequence[int]) -> None:
    """Raises UserError unless an image of `size` can be halved once for each of `channels`."""
    if not channels:
        raise UserError("expected channels to name at least one layer, got none")
    multiple = 2 ** len(channels)
    if any(length < 1 or length % multiple for length in size):
        height, width = size
        raise UserError(
            f"expected a resolution that is a multiple of {multiple}, for {len(channels)} layers "
            f"that each halve it, got {height}x{width}: choose another resolution or fewer channels"
        )
