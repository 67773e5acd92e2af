"""The definition again, for two neighbouring places of the kernel at once.

Their patches overlap, so that less is copied, and the matrix product has twice as many features,
at the price of some multiplications by zero. It is a convolution with a kernel wider by one
stride and twice the step, so the forms of `direct` serve it.
"""

import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions import direct
from jaxgen.convolutions.geometry import Geometry


def applies(g: Geometry) -> bool:
    """Whether the places of a row come in pairs."""
    return g.grid[1] % 2 == 0


def paired(g: Geometry) -> Geometry:
    """The convolution that gives two columns of the grid as one."""
    (kh, kw), (sh, sw) = g.kernel, g.strides
    return g._replace(kernel=(kh, kw + sw), strides=(sh, 2 * sw))


def _paired_kernel(g: Geometry, w: Array) -> Array:
    edges, sw = (0, 0), g.strides[1]
    left, right = (jnp.pad(w, (edges, shift, edges, edges)) for shift in ((0, sw), (sw, 0)))
    return jnp.concatenate([left, right], -1)


def _paired_grid(g: Geometry, y: Array) -> Array:
    n, h, w, cy = y.shape
    return y.reshape(n, h, w // 2, 2 * cy)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """As `direct.convolve`."""
    y = direct.convolve(paired(g), x, _paired_kernel(g, w))
    return y.reshape(-1, *g.grid, w.shape[3])


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """As `direct.transpose`."""
    return direct.transpose(paired(g), _paired_grid(g, y), _paired_kernel(g, w))


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """As `direct.correlate`."""
    (_, kw), (_, sw), cy = g.kernel, g.strides, y.shape[3]
    w = direct.correlate(paired(g), x, _paired_grid(g, y))
    return w[:, :kw, :, :cy] + w[:, sw:, :, cy:]
