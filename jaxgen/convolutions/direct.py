"""Convolution by its definition: a matrix product of patches that stay in the cache."""

import math
from functools import reduce

import jax.numpy as jnp
from jax import Array, lax

from jaxgen.convolutions.chunks import chunk_size, map_chunks, sum_chunks
from jaxgen.convolutions.geometry import Geometry, Pair, fit, unfit

# XLA transposes a factor of a product that sums over the first axis of both, which doubles the
# time. `planes` avoids it, but is slow to build if a pixel's channels do not fill a cache line.
CACHE_LINE = 64  # bytes


def patches(g: Geometry, x: Array) -> Array:
    """The patch under the kernel at each output position: [N * h * w, kh * kw * C]."""
    (h, w), (kh, kw), (sh, sw), (_, qw), (n, *_, c) = *_sizes(g), x.shape
    # `sw` adjacent pixels are contiguous in memory and copied together. Columns, then rows: this
    # takes kh + qw slices, one step would take kh * qw.
    rows, cols = (h - 1) * sh + kh, w + qw - 1
    x = fit(x, g.lead, (rows, cols * sw)).reshape(n, rows, cols, sw * c)
    x = jnp.concatenate([x[:, :, q : q + w, : (kw - q * sw) * c] for q in range(qw)], -1)
    x = jnp.concatenate([x[:, i : i + (h - 1) * sh + 1 : sh] for i in range(kh)], -1)
    return x.reshape(n * h * w, -1)


def planes(g: Geometry, x: Array) -> Array:
    """`patches` transposed: [kh * kw * C, N * h * w]."""
    (h, w), (kh, kw), (sh, sw), (qh, qw), (n, *_, c) = *_sizes(g), x.shape
    rows, cols = h + qh - 1, w + qw - 1
    x = fit(x, g.lead, (rows * sh, cols * sw)).reshape(n, rows, sh, cols, sw, c)
    x = x.transpose(2, 4, 5, 0, 1, 3)  # phases and channels first: rows are contiguous
    x = jnp.stack([x[:, j % sw, ..., j // sw : j // sw + w] for j in range(kw)], 1)
    x = jnp.stack([x[i % sh, ..., i // sh : i // sh + h, :] for i in range(kh)])
    return x.reshape(kh * kw * c, n * h * w)


def add_patches(g: Geometry, z: Array, channels: int) -> Array:
    """The adjoint of `patches`: adds each patch at its position, [N, H, W, channels]."""
    (h, w), (kh, kw), (sh, sw), (qh, qw) = _sizes(g)
    run = sw * channels
    z = _pad(z.reshape(-1, h, w, kh, kw * channels), 4, 0, qw * run - kw * channels)
    runs = [z[..., q * run : (q + 1) * run] for q in range(qw)]
    z = reduce(jnp.add, (_pad(part, 2, q, qw - 1 - q) for q, part in enumerate(runs)))
    # Tap i contributes to the rows that equal i modulo the stride, shifted by i // sh.
    z = _pad(z, 3, 0, qh * sh - kh)
    phases = [
        reduce(jnp.add, (_pad(z[:, :, :, i * sh + a], 1, i, qh - 1 - i) for i in range(qh)))
        for a in range(sh)
    ]
    x = jnp.stack(phases, 2)
    return unfit(x.reshape(-1, (h + qh - 1) * sh, (w + qw - 1) * sw, channels), g.lead, g.image)


def _pad(a: Array, axis: int, before: int, after: int) -> Array:
    edges = [(before, after, 0) if i == axis else (0, 0, 0) for i in range(a.ndim)]
    return lax.pad(a, jnp.zeros((), a.dtype), edges)


def _sizes(g: Geometry) -> tuple[Pair, Pair, Pair, Pair]:
    return g.grid, g.kernel, g.strides, g.phase_taps


def chunk(g: Geometry, a: Array, cx: int, cy: int) -> int:
    """Images per chunk."""
    patch = math.prod(g.kernel) * cx * a.dtype.itemsize
    return chunk_size(a.shape[0], math.prod(g.grid) * patch, patch * cy)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """y = patches(x) w."""
    cx, cy = w.shape[2:]
    flat = w.reshape(-1, cy)
    return map_chunks(
        lambda x: (patches(g, x) @ flat).reshape(-1, *g.grid, cy), chunk(g, x, cx, cy), x
    )


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """x = patchesᵀ(y wᵀ)."""
    cx, cy = w.shape[2:]
    flat = w.reshape(-1, cy).T
    return map_chunks(
        lambda y: add_patches(g, y.reshape(-1, cy) @ flat, cx), chunk(g, y, cx, cy), y
    )


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """w = patches(x)ᵀ y."""
    cx, cy = x.shape[3], y.shape[3]

    def product(x: Array, y: Array) -> Array:
        y = y.reshape(-1, cy)
        if cx * x.dtype.itemsize >= CACHE_LINE:
            return planes(g, x) @ y
        return lax.dot_general(y, patches(g, x), (((0,), (0,)), ((), ()))).T

    return sum_chunks(product, chunk(g, x, cx, cy), x, y).reshape(*g.kernel, cx, cy)
