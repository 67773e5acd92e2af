"""The order of a parameter's axes in the two libraries.

    Dense            jaxgen [in, out]            torch [out, in]
    convolution      jaxgen [kh, kw, in, out]    torch [out, in, kh, kw]
    transposed       jaxgen [kh, kw, out, in]    torch [in, out, kh, kw]
    vectors          the same

The kernel of a transposed convolution is not flipped. Where a Dense layer reads or writes a
flattened map, jaxgen flattens [H, W, C] and PyTorch [C, H, W]: that axis is split into (H · W, C),
and the two are transposed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray


class Layout(NamedTuple):
    """The steps from jaxgen's array to PyTorch's: reshape, transpose, reshape.

    Attributes:
      split: jaxgen's shape with each flattened axis as two, (H · W, C).
      order: the order of the split axes in PyTorch.
      jaxgen: the shape in jaxgen.
      torch: the shape in PyTorch.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    jaxgen: tuple[int, ...]
    torch: tuple[int, ...]

    def to_torch(self, array: Array) -> np.ndarray:
        """PyTorch's array from jaxgen's."""
        split = np.asarray(array).reshape(self.split)
        return np.ascontiguousarray(split.transpose(self.order)).reshape(self.torch)

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        """jaxgen's array from PyTorch's."""
        split = array.reshape([self.split[axis] for axis in self.order])
        return np.ascontiguousarray(split.transpose(np.argsort(self.order))).reshape(self.jaxgen)


def layout_of(shape: Sequence[int], channels_in: int = 1, channels_out: int = 1) -> Layout:
    """The layout of a parameter with this shape in jaxgen; channels as in `tables.Layer`."""
    shape = tuple(shape)
    if len(shape) == 2:
        (fan_in, fan_out), size_in = shape, shape[0] // channels_in
        split = (size_in, channels_in, fan_out // channels_out, channels_out)
        order, torch = (3, 2, 1, 0), (fan_out, fan_in)
    elif len(shape) == 1:
        split, order, torch = (shape[0] // channels_out, channels_out), (1, 0), shape
    else:
        split, order = shape, (3, 2, 0, 1)
        torch = tuple(shape[axis] for axis in order)
    assert math.prod(split) == math.prod(shape), f"{channels_in=} {channels_out=} do not divide"
    return Layout(split, order, shape, torch)
