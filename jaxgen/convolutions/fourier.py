"""Convolution of stride 1 by the discrete Fourier transform, written with real matrix products.

Along one axis, the circular convolution y[i] = Σ_a x[i + a] w[a] of N pixels is a product of two
complex numbers per frequency. Gauss' method computes it with three real products. So there are
three real matrices, of about 3N/2 rows, with

    Σ_ia y[i] x[i + a] w[a] = Σ_r (X x)_r (Y y)_r (W w)_r,

which gives all three products: leave one factor out and apply its matrix transposed. Along two
axes the matrices are applied one after the other, and each product of numbers becomes a matrix
product over channels or images. An image of N² pixels takes 9/4 N² of them for any kernel size.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxgen.convolutions.geometry import Geometry, Pair


def num_products(size: int) -> int:
    """Real products along an axis: one per real frequency, three per complex frequency."""
    return (3 * size - 1) // 2


def _matrices(g: Geometry, axis: int) -> dict[str, np.ndarray]:
    """The three matrices of an axis: "x" [R, image], "y" [R, grid], "w" [R, kernel]."""
    size = sizes(g)[axis]

    def spectrum(length, start=0):
        angle = 2 * np.pi / size * np.outer(np.arange(size // 2 + 1), start + np.arange(length))
        return np.cos(angle), -np.sin(angle)

    (a, b), (c, d), (e, f) = (
        spectrum(g.image[axis], g.lead[axis]),
        spectrum(g.kernel[axis]),
        spectrum(g.grid[axis]),
    )
    frequency = np.arange(size // 2 + 1)
    real = (frequency == 0) | (2 * frequency == size)  # coefficients without an imaginary part
    pairs = ~real
    # Re (a + ib)(c - id)(e - if) = (a + b) c (e + f) - a (c + d) f - b (c - d) e
    return {
        "x": np.concatenate([a[real], (a + b)[pairs], a[pairs], b[pairs]]),
        "w": np.concatenate([c[real], c[pairs], (c + d)[pairs], (c - d)[pairs]]),
        "y": np.concatenate([e[real], 2 * (e + f)[pairs], -2 * f[pairs], -2 * e[pairs]]) / size,
    }


def _apply(matrix: np.ndarray, a: Array) -> Array:
    out = jnp.asarray(matrix, a.dtype) @ a.reshape(a.shape[0], -1)
    return out.reshape(-1, *a.shape[1:])


def applies(g: Geometry) -> bool:
    """Whether the stride is 1."""
    return g.strides == (1, 1)


def sizes(g: Geometry) -> Pair:
    """The period along each axis: the padded image."""
    h, w = (size + sum(pads) for size, pads in zip(g.image, g.padding, strict=True))
    return h, w


def _multiply(g: Geometry, factors: str, a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Multiplies two factors in the Fourier domain.

    Args:
      g: the geometry of the convolution.
      factors: letters of both factors and of the result, such as "xwy".
      a: the first factor, spatial axes first.
      b: the second factor, spatial axes first.
      axis_a: the axis of a to sum over, 1 or 2, without the rows.
      axis_b: the axis of b to sum over.
    """
    rows, cols = (_matrices(g, axis) for axis in (0, 1))
    first, second, out = factors
    a, b = _apply(rows[first], a), _apply(rows[second], b)

    def row(_, inputs):  # one row of frequencies at a time stays in the cache
        a, b = (_apply(cols[letter], v) for letter, v in zip((first, second), inputs, strict=True))
        product = lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))))
        return None, _apply(cols[out].T, product)

    return _apply(rows[out].T, lax.scan(row, None, (a, b))[1])


def _spatial_first(a: Array) -> Array:
    return a.transpose(1, 2, 0, 3)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """y = Yᵀ (X x · W w)."""
    return _multiply(g, "xwy", _spatial_first(x), w, 2, 1).transpose(2, 0, 1, 3)


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """x = Xᵀ (Y y · W w)."""
    return _multiply(g, "ywx", _spatial_first(y), w, 2, 2).transpose(2, 0, 1, 3)


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """w = Wᵀ (X x · Y y)."""
    return _multiply(g, "xyw", _spatial_first(x), _spatial_first(y), 1, 1)
