"""Shapes of convolutions, arrays for them, and the same computations in plain jax.lax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.convolutions.geometry import Geometry

# images, (height, width), channels of x and y, kernel, strides, padding
SHAPES = {
    "plain": (3, (9, 8), (4, 6), (5, 5), (1, 1), ((0, 0), (0, 0))),
    "padded": (7, (11, 13), (5, 3), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "same strides": (5, (8, 8), (9, 8), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "left over": (3, (12, 11), (10, 1), (5, 5), (2, 2), ((2, 2), (2, 2))),
    "mixed": (2, (7, 10), (3, 5), (3, 2), (2, 3), ((1, 0), (0, 2))),
    "kernel 1": (1, (6, 5), (2, 3), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "kernel 1 strided": (2, (9, 7), (4, 2), (1, 1), (2, 2), ((0, 0), (0, 0))),
    "kernel below stride": (2, (10, 11), (3, 3), (2, 2), (3, 3), ((0, 0), (0, 1))),
    "one place": (2, (5, 5), (12, 3), (5, 5), (1, 1), ((0, 0), (0, 0))),
    "one pixel": (4, (1, 1), (3, 10), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "two taps, odd grid": (5, (9, 6), (3, 4), (4, 3), (2, 2), ((1, 0), (1, 1))),
    "two taps": (3, (6, 5), (2, 4), (2, 2), (1, 1), ((0, 0), (1, 0))),
    "padding above kernel": (2, (4, 3), (3, 9), (2, 2), (2, 2), ((3, 0), (2, 3))),
    "wide": (3, (6, 17), (16, 18), (3, 4), (1, 1), ((0, 2), (3, 1))),
    "fours": (3, (7, 8), (3, 4), (3, 3), (1, 1), ((1, 1), (1, 1))),
}


def geometry(shape):
    _, size, _, kernel, strides, padding = shape
    return Geometry(size, kernel, strides, padding)


def extra(g):
    """The output padding that brings the transposed convolution back to g.image."""
    return tuple(
        (size + sum(pads) - taps) % stride
        for size, taps, stride, pads in zip(g.image, g.kernel, g.strides, g.padding, strict=True)
    )


def draw(shape, dtype: type = np.float64):
    """x, w, y of the right shapes."""
    n, _, (cx, cy), *_ = shape
    g, rng = geometry(shape), np.random.default_rng(1)
    shapes = ((n, *g.image, cx), (*g.kernel, cx, cy), (n, *g.grid, cy))
    return [jnp.asarray(rng.standard_normal(s), dtype) for s in shapes]


def lax_conv(g, x, w):
    return lax.conv_general_dilated(
        x, w, g.strides, g.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def lax_conv_transpose(g, y, w):
    pads = [
        (taps - 1 - before, taps - 1 - after + more)
        for taps, (before, after), more in zip(g.kernel, g.padding, extra(g), strict=True)
    ]
    return lax.conv_general_dilated(
        y,
        w[::-1, ::-1].swapaxes(2, 3),
        (1, 1),
        pads,
        lhs_dilation=g.strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def agree(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(abs(b).max()))


# These programs run for microseconds: compile them without optimization.
fast_compile = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def square(size, kernel, stride, padding):
    sides = ((padding, padding), (padding, padding))
    return Geometry((size, size), (kernel, kernel), (stride, stride), sides)
