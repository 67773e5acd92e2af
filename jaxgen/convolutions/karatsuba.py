"""Convolution with two taps per phase in 9 matrix products, where the definition takes 16.

Split into phases, a kernel of 4 taps and stride 2 is one of 2 taps and stride 1. Two adjacent
outputs then take three products instead of four,

    y0 = x0 w0 + x1 w1 = (x0 - x1) w0 + x1 (w0 + w1)
    y1 = x1 w0 + x2 w1 = x1 (w0 + w1) + (x2 - x1) w1,

that is Σ_ia y[i] x[i + a] w[a] = Σ_r (X x)_r (Y y)_r (Y w)_r with matrices X and Y of three rows.
This sum gives all three products: leave one factor out and apply its matrix transposed. Along two
axes there are nine terms. All entries of the matrices are 0 or ±1, so rounding errors stay small.
(Karatsuba & Ofman, 1962; Winograd's F(2, 2), 1980.)
"""

import math
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from jaxgen.convolutions.chunks import chunk_size, map_chunks, sum_chunks
from jaxgen.convolutions.geometry import Geometry, Pair, fit
from jaxgen.convolutions.phases import join, join_kernel, split, split_kernel


def applies(g: Geometry) -> bool:
    """Whether the kernel has two taps per phase along both axes."""
    return g.phase_taps == (2, 2)


def tiles(g: Geometry) -> Pair:
    """Number of tiles of 2x2 outputs, per axis; the last ones may reach past the output."""
    h, w = (-(-size // 2) for size in g.grid)
    return h, w


# ---- the matrices X, on windows of three, and Y, on windows of two, and their transposes


def _x(a: Array, b: Array, c: Array) -> list[Array]:
    return [a - b, b, c - b]


def _y(a: Array, b: Array) -> list[Array]:
    return [a, a + b, b]


def _x_transposed(a: Array, b: Array, c: Array, axis: int) -> list[Array]:
    def grow(a, first, last):  # windows overlap in one pixel
        edges = [(first, last, 0) if i == axis else (0, 0, 0) for i in range(a.ndim)]
        return lax.pad(a, jnp.zeros((), a.dtype), edges)

    return [grow(a, 0, 1) + grow(c, 1, 0), grow(b - a - c, 0, 1)]


def _y_transposed(a: Array, b: Array, c: Array, axis: int) -> list[Array]:
    del axis  # windows do not overlap
    return [a + b, b + c]


def _apply(matrix, length: int, num_tiles: Pair, a: Array) -> Array:
    """Applies a matrix to windows of this length at every second pixel: [9, N * h * w, C]."""
    h, w = (2 * size - 1 for size in num_tiles)
    # Rows, then columns: nine sums in one step compile to slow code.
    a = jnp.stack(matrix(*(a[:, i : i + h : 2] for i in range(length))))
    a = jnp.stack(matrix(*(a[:, :, :, j : j + w : 2] for j in range(length))))
    return a.reshape(9, -1, a.shape[-1])


def _apply_transposed(matrix, num_tiles: Pair, z: Array) -> Array:
    """The adjoint of `_apply`: even and odd pixels, interleaved."""
    z = z.reshape(3, 3, -1, *num_tiles, z.shape[-1])
    z = jnp.stack(matrix(z[0], z[1], z[2], 3), 4)  # [3 for rows, N, h, w, 2, C]
    z = z.reshape(*z.shape[:3], -1, z.shape[-1])
    z = jnp.stack(matrix(z[0], z[1], z[2], 1), 2)
    return z.reshape(z.shape[0], -1, *z.shape[3:])


# ---- applied to the phases of the image, to the output, and to the phases of the kernel


def _image_factor(g: Geometry, x: Array) -> Array:
    h, w = tiles(g)
    return _apply(_x, 3, (h, w), split(g, x, (2 * h, 2 * w)))


def _image(g: Geometry, z: Array) -> Array:
    return join(g, _apply_transposed(_x_transposed, tiles(g), z))


def _grid_factor(g: Geometry, y: Array) -> Array:
    h, w = tiles(g)
    return _apply(_y, 2, (h, w), fit(y, (0, 0), (2 * h, 2 * w)))


def _tiled(g: Geometry, y: Array) -> Array:
    """The four outputs of every tile, channels first: [2 columns, 2 rows, cy, N * h * w]."""
    (h, w), (n, *_, cy) = tiles(g), y.shape
    y = fit(y, (0, 0), (2 * h, 2 * w)).reshape(n, h, 2, w, 2, cy)
    return y.transpose(4, 2, 5, 0, 1, 3).reshape(2, 2, cy, -1)


def _grid_factor_of_tiles(y: Array) -> Array:
    """`_grid_factor` transposed, from the result of `_tiled`: [9, cy, N * h * w]."""
    y = jnp.stack(_y(y[:, 0], y[:, 1]))
    return jnp.stack(_y(y[:, 0], y[:, 1])).reshape(9, *y.shape[2:])


def _grid(g: Geometry, z: Array) -> Array:
    return fit(_apply_transposed(_y_transposed, tiles(g), z), (0, 0), g.grid)


def _kernel_factor(g: Geometry, w: Array) -> Array:
    w = split_kernel(g, w)
    return _apply(_y, 2, (1, 1), w.reshape(1, 2, 2, -1)).reshape(9, *w.shape[2:])


def _kernel(g: Geometry, z: Array) -> Array:
    w = _apply_transposed(_y_transposed, (1, 1), z.reshape(9, 1, -1))
    return join_kernel(g, w.reshape(2, 2, *z.shape[1:]))


# ---- the three products


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))))


def _chunk(g: Geometry, a: Array, cx: int, cy: int) -> int:
    cx, size = math.prod(g.strides) * cx, 9 * a.dtype.itemsize
    return chunk_size(a.shape[0], size * math.prod(tiles(g)) * (cx + cy), size * cx * cy)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """y = Yᵀ (X x · Y w)."""
    kernel = _kernel_factor(g, w)
    return map_chunks(
        lambda x: _grid(g, _product(_image_factor(g, x), kernel, 2, 1)),
        _chunk(g, x, *w.shape[2:]),
        x,
    )


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """x = Xᵀ (Y y · Y w)."""
    kernel = _kernel_factor(g, w)
    return map_chunks(
        lambda y: _image(g, _product(_grid_factor(g, y), kernel, 2, 2)),
        _chunk(g, y, *w.shape[2:]),
        y,
    )


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """w = Yᵀ (X x · Y y)."""
    products = sum_chunks(
        lambda x, y: _product(_grid_factor_of_tiles(y), _image_factor(g, x), 2, 1),
        _chunk(g, x, x.shape[3], y.shape[3]),
        x,
        y,
        partial(_tiled, g),
    )
    return _kernel(g, products.swapaxes(1, 2))
