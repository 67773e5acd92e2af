"""Convolution with stride 1 as products of real Fourier coefficients, one for every frequency.

Along one axis, y[i] = Σ_a x[i + a] w[a] over a circle of N pixels is, frequency by frequency, a
product of two complex numbers; Gauss' three multiplications make it three products of real
numbers. So there are three real matrices, of about 3N/2 rows, with

    Σ_ia y[i] x[i + a] w[a] = Σ_r (X x)_r (Y y)_r (W w)_r,

one sum for all three computations: leave one factor out and apply its matrix transposed. Along
two axes the matrices act one after the other, and each product of numbers is a matrix product
over channels or images. An image of N² pixels takes 9/4 N² of them, whatever the kernel's size.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxgen.convolutions.geometry import Geometry, Pair


def num_products(size: int) -> int:
    """Real products along an axis of this size: one a real frequency, three a complex one."""
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
    alone = (frequency == 0) | (2 * frequency == size)  # no imaginary part, no mirror image
    pairs = ~alone
    # Re (a + ib)(c - id)(e - if) = (a + b) c (e + f) - a (c + d) f - b (c - d) e
    return {
        "x": np.concatenate([a[alone], (a + b)[pairs], a[pairs], b[pairs]]),
        "w": np.concatenate([c[alone], c[pairs], (c + d)[pairs], (c - d)[pairs]]),
        "y": np.concatenate([e[alone], 2 * (e + f)[pairs], -2 * f[pairs], -2 * e[pairs]]) / size,
    }


def _apply(matrix: np.ndarray, a: Array) -> Array:
    out = jnp.asarray(matrix, a.dtype) @ a.reshape(a.shape[0], -1)
    return out.reshape(-1, *a.shape[1:])


def applies(g: Geometry) -> bool:
    """Whether the stride is 1."""
    return g.strides == (1, 1)


def sizes(g: Geometry) -> Pair:
    """The circle of each axis: the image and its padding."""
    h, w = (size + sum(pads) for size, pads in zip(g.image, g.padding, strict=True))
    return h, w


def _multiply(g: Geometry, factors: str, a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Two factors, given by their letters, into the third; axis 1 or 2 of both is summed over."""
    rows, cols = (_matrices(g, axis) for axis in (0, 1))
    first, second, out = factors
    a, b = _apply(rows[first], a), _apply(rows[second], b)

    def row(_, inputs):  # a row of frequencies at a time: all of them at once leave the cache
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
