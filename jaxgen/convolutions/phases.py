"""A strided convolution as one of stride 1 over the phases of its image.

A phase consists of the pixels whose position is the same modulo the strides. With the phases
stacked as channels, [h + q - 1, w + q - 1, sh * sw * C] for an output of h x w pixels and
q = kernel / strides taps per phase, the convolution has stride 1.
"""

import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions.geometry import Geometry, Pair, fit, unfit


def split(g: Geometry, x: Array, size: Pair) -> Array:
    """The phases of padded images [N, H, W, C], as many as an output of this size needs."""
    (sh, sw), (qh, qw), (n, *_, c) = g.strides, g.phase_taps, x.shape
    rows, cols = size[0] + qh - 1, size[1] + qw - 1
    x = fit(x, g.lead, (rows * sh, cols * sw)).reshape(n, rows, sh, cols, sw * c)
    return x.transpose(0, 1, 3, 2, 4).reshape(n, rows, cols, sh * sw * c)


def join(g: Geometry, x: Array) -> Array:
    """The adjoint of `split`: phases [N, rows, cols, sh * sw * C] -> [N, H, W, C]."""
    (sh, sw), (n, rows, cols, _) = g.strides, x.shape
    x = x.reshape(n, rows, cols, sh, -1).transpose(0, 1, 3, 2, 4)
    return unfit(x.reshape(n, rows * sh, cols * sw, -1), g.lead, g.image)


def split_kernel(g: Geometry, w: Array) -> Array:
    """The kernel of stride 1: [kh, kw, cx, cy] -> [qh, qw, sh * sw * cx, cy]."""
    (kh, kw), (sh, sw), (qh, qw), (cx, cy) = g.kernel, g.strides, g.phase_taps, w.shape[2:]
    w = jnp.pad(w, ((0, qh * sh - kh), (0, qw * sw - kw), (0, 0), (0, 0)))
    return w.reshape(qh, sh, qw, sw, cx, cy).transpose(0, 2, 1, 3, 4, 5).reshape(qh, qw, -1, cy)


def join_kernel(g: Geometry, w: Array) -> Array:
    """The adjoint of `split_kernel`: [qh, qw, sh * sw * cx, cy] -> [kh, kw, cx, cy]."""
    (kh, kw), (sh, sw), (qh, qw, _, cy) = g.kernel, g.strides, w.shape
    w = w.reshape(qh, qw, sh, sw, -1, cy).transpose(0, 2, 1, 3, 4, 5)
    return w.reshape(qh * sh, qw * sw, -1, cy)[:kh, :kw]
