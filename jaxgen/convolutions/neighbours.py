"""The definition again, for several neighbouring places of the kernel at once.

Their patches overlap, so that less is copied, and the matrix product has that many times as many
features, at the price of some multiplications by zero. It is a convolution with a kernel wider by
a stride for each place more, and as many times the step, so the forms of `direct` serve it.
"""

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions import direct
from jaxgen.convolutions.geometry import Geometry


class Neighbours(NamedTuple):
    """The form for `places` places of a row at once."""

    places: int

    def applies(self, g: Geometry) -> bool:
        """Whether the places of a row come in groups of `places`."""
        return g.grid[1] % self.places == 0

    def grouped(self, g: Geometry) -> Geometry:
        """The convolution that gives `places` columns of the grid as one."""
        (kh, kw), (sh, sw) = g.kernel, g.strides
        return g._replace(kernel=(kh, kw + (self.places - 1) * sw), strides=(sh, self.places * sw))

    def _grouped_kernel(self, g: Geometry, w: Array) -> Array:
        edges, sw, last = (0, 0), g.strides[1], self.places - 1
        shifts = [(i * sw, (last - i) * sw) for i in range(self.places)]
        return jnp.concatenate([jnp.pad(w, (edges, s, edges, edges)) for s in shifts], -1)

    def _grouped_grid(self, y: Array) -> Array:
        n, h, w, cy = y.shape
        return y.reshape(n, h, w // self.places, self.places * cy)

    def convolve(self, g: Geometry, x: Array, w: Array) -> Array:
        """As `direct.convolve`."""
        y = direct.convolve(self.grouped(g), x, self._grouped_kernel(g, w))
        return y.reshape(-1, *g.grid, w.shape[3])

    def transpose(self, g: Geometry, y: Array, w: Array) -> Array:
        """As `direct.transpose`."""
        kernel = self._grouped_kernel(g, w)
        return direct.transpose(self.grouped(g), self._grouped_grid(y), kernel)

    def correlate(self, g: Geometry, x: Array, y: Array) -> Array:
        """As `direct.correlate`."""
        (_, kw), (_, sw), cy = g.kernel, g.strides, y.shape[3]
        w = direct.correlate(self.grouped(g), x, self._grouped_grid(y))
        shares = (w[:, i * sw : i * sw + kw, :, i * cy :][..., :cy] for i in range(self.places))
        return reduce(jnp.add, shares)


PAIRS, FOURS = Neighbours(2), Neighbours(4)
