"""The static shape of a two-dimensional convolution."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """The sizes of a convolution except batch and channels.

    Attributes:
      image: height and width of x, the side before a strided convolution.
      kernel: height and width of the kernel.
      strides: of the kernel, per axis.
      padding: zeros before and after x, per axis.
    """

    image: Pair
    kernel: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    @property
    def grid(self) -> Pair:
        """Height and width of y: the positions of the kernel over the padded image."""
        h, w = (
            (size + before + after - taps) // stride + 1
            for size, taps, stride, (before, after) in zip(*self, strict=True)
        )
        return h, w

    @property
    def phase_taps(self) -> Pair:
        """Kernel taps per phase of the image: kernel / strides, rounded up."""
        h, w = (-(-taps // stride) for taps, stride in zip(self.kernel, self.strides, strict=True))
        return h, w

    @property
    def lead(self) -> Pair:
        """Rows and columns of zeros before the image."""
        return self.padding[0][0], self.padding[1][0]


def convolution(x: Array, w: Array, strides: Pair, padding: tuple[Pair, Pair]) -> Array:
    """XLA's convolution of images [N, H, W, C] with a kernel [kh, kw, C, features]."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)


def fit(a: Array, lead: Pair, shape: Pair) -> Array:
    """Prepends `lead` rows and columns of zeros to [N, H, W, C], then crops or pads to shape."""
    edges = [
        (before, size - before - have, 0)
        for before, size, have in zip(lead, shape, a.shape[1:3], strict=True)
    ]
    return lax.pad(a, jnp.zeros((), a.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def unfit(a: Array, lead: Pair, shape: Pair) -> Array:
    """Removes the first `lead` rows and columns of [N, H, W, C], then crops or pads to shape."""
    return fit(a, (-lead[0], -lead[1]), shape)
