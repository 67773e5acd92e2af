"""Direct convolution that computes a block of adjacent output columns from one patch.

The patches of adjacent columns overlap, so one wider patch copies fewer numbers, and the matrix
product has as many times more features, at the cost of some multiplications by zero. For blocks of
b columns it is a `direct` convolution with b times the stride and a kernel wider by b - 1 strides.
"""

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions import direct
from jaxgen.convolutions.geometry import Geometry


class ColumnBlocks(NamedTuple):
    """The form that computes `columns` output columns at once."""

    columns: int

    def applies(self, g: Geometry) -> bool:
        """Whether the output width is a multiple of the block."""
        return g.grid[1] % self.columns == 0

    def blocked(self, g: Geometry) -> Geometry:
        """The convolution whose output pixels are blocks of columns."""
        (kh, kw), (sh, sw) = g.kernel, g.strides
        return g._replace(
            kernel=(kh, kw + (self.columns - 1) * sw), strides=(sh, self.columns * sw)
        )

    def _blocked_kernel(self, g: Geometry, w: Array) -> Array:
        edges, sw, last = (0, 0), g.strides[1], self.columns - 1
        shifts = [(i * sw, (last - i) * sw) for i in range(self.columns)]
        return jnp.concatenate([jnp.pad(w, (edges, s, edges, edges)) for s in shifts], -1)

    def _blocked_grid(self, y: Array) -> Array:
        n, h, w, cy = y.shape
        return y.reshape(n, h, w // self.columns, self.columns * cy)

    def convolve(self, g: Geometry, x: Array, w: Array) -> Array:
        """As `direct.convolve`."""
        y = direct.convolve(self.blocked(g), x, self._blocked_kernel(g, w))
        return y.reshape(-1, *g.grid, w.shape[3])

    def transpose(self, g: Geometry, y: Array, w: Array) -> Array:
        """As `direct.transpose`."""
        kernel = self._blocked_kernel(g, w)
        return direct.transpose(self.blocked(g), self._blocked_grid(y), kernel)

    def correlate(self, g: Geometry, x: Array, y: Array) -> Array:
        """As `direct.correlate`."""
        (_, kw), (_, sw), cy = g.kernel, g.strides, y.shape[3]
        w = direct.correlate(self.blocked(g), x, self._blocked_grid(y))
        shares = (w[:, i * sw : i * sw + kw, :, i * cy :][..., :cy] for i in range(self.columns))
        return reduce(jnp.add, shares)


BLOCKS_OF_2, BLOCKS_OF_4 = ColumnBlocks(2), ColumnBlocks(4)
