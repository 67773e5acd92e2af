"""Convolutional generators and critics after DCGAN (Radford et al., arXiv:1511.06434).

Convolutions have no bias and start at N(0, 0.02²); BatchNorm scales start at N(1, 0.02²). `train`
is static and only affects BatchNorm.
"""

import math
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.convolutions import Conv, ConvTranspose
from jaxgen.errors import UserError
from jaxgen.networks.layers import RunningVariance, batch_norm, dense
from jaxgen.types import Array

Shape = tuple[int, int, int]
STD = 0.02
LAST_KERNEL_LIMIT = 12


def _normal_around_one(key, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding
    return 1 + STD * jax.random.normal(key, shape, dtype)


_conv = partial(Conv, use_bias=False, kernel_init=nn.initializers.normal(STD))
_conv_transpose = partial(ConvTranspose, use_bias=False, kernel_init=nn.initializers.normal(STD))
_halve = partial(_conv, kernel_size=4, strides=2, padding=1)
_double = partial(_conv_transpose, kernel_size=4, strides=2, padding=1)
_batch_norm = partial(batch_norm, scale_init=_normal_around_one)


class DigitGenerator(nn.Module):
    """Five transposed convolutions: 1 → 5 → 9 → 21 → 25 → 28 pixels, the last to a sigmoid.

    Kernels 5, 5, 5 (stride 2), 5 and 4; BatchNorm and ReLU after all but the last. For sizes other
    than 28 the size of the last kernel changes: 8 for 32 pixels.

    Raises:
      UserError: an image is smaller than 25 pixels or larger than 36.
    """

    image_shape: Shape
    features: Sequence[int] = (512, 256, 128, 64)
    running_variance: RunningVariance = "biased"

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width, _ = self.image_shape
        if not all(1 <= size - 24 <= LAST_KERNEL_LIMIT for size in (height, width)):
            raise UserError(
                f"expected images of 25 to {24 + LAST_KERNEL_LIMIT} pixels a side, got "
                f"{height}x{width}: take dcgan_flowers, or resize the images"
            )
        if len(self.features) != 4:
            raise UserError(f"expected features of four layers, got {tuple(self.features)}")

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        """[B, latent_size] -> [B, *image_shape] in [0, 1]."""
        height, width, channels = self.image_shape
        norm = partial(_batch_norm, train=train, running_variance=self.running_variance)
        x = latents[:, None, None, :]
        for i, (features, strides) in enumerate(zip(self.features, (1, 1, 2, 1), strict=True)):
            _checks.at_least(f"the features of layer {i}", features, 1)
            x = _conv_transpose(features, 5, strides, name=f"conv_{i}")(x)
            x = nn.relu(norm(x, name=f"norm_{i}"))
        return nn.sigmoid(_conv_transpose(channels, (height - 24, width - 24), name="output")(x))


class DigitCritic(nn.Module):
    """Convolutions k4 s2 p1, each halving the image, then the mean over space and a dense unit.

    LeakyReLU(0.01) after each, BatchNorm before it in all but the first.
    """

    features: Sequence[int] = (64, 128, 256)
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        """[B, H, W, C] -> [B]."""
        norm = partial(_batch_norm, train=train, running_variance=self.running_variance)
        x = images
        for i, features in enumerate(self.features):
            _checks.at_least(f"the features of layer {i}", features, 1)
            x = _halve(features, name=f"conv_{i}")(x)
            x = nn.leaky_relu(norm(x, name=f"norm_{i}") if i else x)
        return dense(jnp.mean(x, axis=(1, 2)), 1, "score")[:, 0]


class PyramidGenerator(nn.Module):
    """Transposed convolutions that double a small feature map up to the image; tanh at the end.

    One transposed convolution from the latents to the smallest map (4 to 7 pixels a side, see
    `levels`), then k4 s2 p1 ones with half the features each, with BatchNorm and ReLU between. At
    64x64 and 64 features it is the generator of the paper's figure 1 with half its width.

    Raises:
      UserError: the image's sides cannot be halved that often.
    """

    image_shape: Shape
    features: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        levels(self.image_shape)

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        """[B, latent_size] -> [B, *image_shape] in [−1, 1]."""
        _checks.at_least("features", self.features, 1)
        num_levels, smallest = levels(self.image_shape)
        features = self.features * 2 ** (num_levels - 1)
        x = _conv_transpose(features, smallest, name="conv_0")(latents[:, None, None, :])
        for i in range(1, num_levels):
            x = nn.relu(_batch_norm(x, train, name=f"norm_{i - 1}"))
            x = _double(features // 2**i, name=f"conv_{i}")(x)
        x = nn.relu(_batch_norm(x, train, name=f"norm_{num_levels - 1}"))
        return nn.tanh(_double(self.image_shape[2], name="output")(x))


class PyramidCritic(nn.Module):
    """The mirror of `PyramidGenerator`: LeakyReLU(0.2), no BatchNorm at the first layer.

    Raises:
      UserError: the image's sides cannot be halved that often.
    """

    image_shape: Shape
    features: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        levels(self.image_shape)

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        """[B, H, W, C] -> [B]."""
        _checks.at_least("features", self.features, 1)
        num_levels, smallest = levels(self.image_shape)
        x = images
        for i in range(num_levels):
            x = _halve(self.features * 2**i, name=f"conv_{i}")(x)
            x = nn.leaky_relu(_batch_norm(x, train, name=f"norm_{i}") if i else x, 0.2)
        return _conv(1, smallest, padding=0, name="score")(x)[:, 0, 0, 0]


def levels(image_shape: Shape) -> tuple[int, tuple[int, int]]:
    """How often an image is halved until its shorter side has 4 to 7 pixels, and its size then.

    28x28 gives (2, (7, 7)), 32x32 (3, (4, 4)), 64x64 (4, (4, 4)).

    Raises:
      UserError: a side is smaller than 8 pixels or cannot be halved that often.
    """
    height, width, _ = image_shape
    shorter = min(height, width)
    num_levels = int(math.log2(shorter / 4)) if shorter >= 8 else 0
    if not num_levels or height % 2**num_levels or width % 2**num_levels:
        raise UserError(
            f"expected images whose sides are 4 to 7 pixels times a power of 2, like 28, 32, 48, "
            f"64 or 128, got {height}x{width}: resize them"
        )
    return num_levels, (height >> num_levels, width >> num_levels)
