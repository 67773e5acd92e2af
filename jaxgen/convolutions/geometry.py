"""The static shape of a two-dimensional convolution."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a kernel steps over an image: everything about a convolution but batch and channels.

    Attributes:
      image: height and width of the large side, x.
      kernel: height and width of the kernel.
      strides: the kernel's step, per axis.
      padding: zeros before and after x, per axis.
    """

    image: Pair
    kernel: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    @property
    def grid(self) -> Pair:
        """Height and width of the small side, y: the places that the kernel takes."""
        h, w = (
            (size + before + after - taps) // stride + 1
            for size, taps, stride, (before, after) in zip(*self, strict=True)
        )
        return h, w

    @property
    def phase_taps(self) -> Pair:
        """Taps of the kernel that meet one phase of the image: kernel / strides, rounded up."""
        h, w = (-(-taps // stride) for taps, stride in zip(self.kernel, self.strides, strict=True))
        return h, w

    @property
    def lead(self) -> Pair:
        """Rows and columns of zeros before the image."""
        return self.padding[0][0], self.padding[1][0]


def convolution(x: Array, w: Array, strides: Pair, padding: tuple[Pair, Pair]) -> Array:
    """XLA's own, of images [N, H, W, C] and a kernel [kh, kw, C, features]."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)


def fit(a: Array, lead: Pair, shape: Pair) -> Array:
    """Give [N, H, W, C] `lead` rows and columns of zeros in front, and crop or pad it to shape."""
    edges = [
        (before, size - before - have, 0)
        for before, size, have in zip(lead, shape, a.shape[1:3], strict=True)
    ]
    return lax.pad(a, jnp.zeros((), a.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def unfit(a: Array, lead: Pair, shape: Pair) -> Array:
    """Take the `lead` rows and columns in front away again, and crop or pad to shape."""
    return fit(a, (-lead[0], -lead[1]), shape)
