"""Selects the algorithm that computes a convolution on CPU, by a cost model.

    cost = floating-point operations + 128 * intermediate numbers written

A processor does about a hundred operations in the time it takes to write a number to the cache and
read it back. 128 is a round figure, not fitted to one machine: with 64 or 256 instead, four in five
choices for the layers of benchmarks/layers.py and of the systems stay the same. The numbers that a
form writes are counted per image and approximately: how often a number passes through memory before
it reaches the matrix product.

The errors of Karatsuba's and Fourier's forms are small relative to the largest result, but not
relative to each result: they add and subtract intermediate sums, so a small result carries the
rounding error of large ones, and Fourier's form gives noise where all terms are 0. Under
`jax.default_matmul_precision("highest")` neither is chosen.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions import direct, fourier, karatsuba, onednn, unit_stride
from jaxgen.convolutions.column_blocks import BLOCKS_OF_2, BLOCKS_OF_4, ColumnBlocks
from jaxgen.convolutions.geometry import Geometry


class Form(Protocol):
    """A module or a `ColumnBlocks`. All but `unit_stride` also have `correlate`."""

    def convolve(self, g: Geometry, x: Array, w: Array, /) -> Array:
        """The value."""
        ...

    def transpose(self, g: Geometry, y: Array, w: Array, /) -> Array:
        """The gradient with respect to x, given the gradient with respect to y."""
        ...


WRITE = 128  # the cost of an intermediate number, in floating-point operations
PATCHES = (direct, BLOCKS_OF_2, BLOCKS_OF_4)
TERM_BY_TERM = (*PATCHES, unit_stride, onednn)  # forms that add up the products of the definition
HIGHEST = ("highest", "float32")  # JAX's two names for the highest precision


def _direct_cost(g: Geometry, cx: int, cy: int) -> float:
    (h, w), (kh, kw), (sh, sw), (qh, qw) = g.grid, g.kernel, g.strides, g.phase_taps
    rows = (h + qh - 1) * sh
    # the padded image, its columns concatenated, then its rows
    numbers = cx * (rows * (w + qw - 1) * sw + rows * w * kw + h * kh * w * kw)
    return 2 * h * kh * w * kw * cx * cy + WRITE * numbers


def _column_blocks_cost(form: ColumnBlocks, g: Geometry, cx: int, cy: int) -> float:
    return _direct_cost(form.blocked(g), cx, form.columns * cy)


def _unit_stride_cost(g: Geometry, cx: int, cy: int) -> float:
    taps, cx = math.prod(g.phase_taps), cx * math.prod(g.strides)
    (h, w), (qh, qw) = g.grid, g.phase_taps
    # Each tap of each output position starts a contiguous read, which costs as much as two writes.
    # The phases are written and separated, the output is cropped.
    positions = (h + qh - 1) * w * (taps * (2 * cx * cy + 2 * WRITE) + cy * WRITE)
    return positions + 2 * WRITE * (h + qh - 1) * (w + qw - 1) * cx


def _onednn_cost(name: str, g: Geometry, batch: int, cx: int, cy: int) -> float:
    def flops(positions, taps, channels, features):  # features are computed a register at a time
        return 2 * positions * taps * channels * onednn.LANES * -(-features // onednn.LANES)

    if name == "correlate":
        return _direct_cost(g, cx, cy)
    kernel = WRITE * 3 * math.prod(g.kernel) * cx * cy / batch  # flipped and repacked
    if name == "convolve":  # the image is read in place
        return flops(math.prod(g.grid), math.prod(g.kernel), cx, cy) + kernel
    (h, w), (qh, qw), phases = g.grid, g.phase_taps, math.prod(g.strides)
    if phases == 1:
        return flops(math.prod(g.image), qh * qw, cy, cx) + kernel
    positions = (h + qh - 1) * (w + qw - 1)  # the phases are written, separated and cropped
    writes = 2 * positions * phases * cx
    return flops(positions, qh * qw, cy, phases * cx) + kernel + WRITE * writes


def _karatsuba_cost(g: Geometry, cx: int, cy: int) -> float:
    products, cx = 9 * math.prod(karatsuba.tiles(g)), cx * math.prod(g.strides)
    # padding, splitting into phases, combining rows, then columns: 2.5 writes
    return products * (2 * cx * cy + 2.5 * WRITE * (cx + cy))


def _fourier_cost(g: Geometry, batch: int, cx: int, cy: int) -> float:
    rows, cols = (fourier.num_products(size) for size in fourier.sizes(g))

    def factor(size, channels):  # moves axes, transforms rows, then columns
        height, width = size
        flops = 2 * rows * width * (height + cols)
        return channels * (flops + WRITE * (height * width + 2 * rows * width + rows * cols))

    kernel = factor(g.kernel, cx * cy) / batch
    return rows * cols * 2 * cx * cy + factor(g.image, cx) + factor(g.grid, cy) + kernel


def costs(
    name: str, g: Geometry, batch: int, cx: int, cy: int, dtype: Any = jnp.float32
) -> dict[Form, float]:
    """The cost per image of each form that can compute a product.

    Args:
      name: "convolve", "transpose" or "correlate".
      g: the geometry of the convolution.
      batch: number of images: x is [batch, H, W, cx], y [batch, h, w, cy].
      cx: channels of x.
      cy: channels of y.
      dtype: of both factors.
    """
    found: dict[Form, float] = {direct: _direct_cost(g, cx, cy)}
    for form in (BLOCKS_OF_2, BLOCKS_OF_4):
        if form.applies(g):
            found[form] = _column_blocks_cost(form, g, cx, cy)
    if unit_stride.applies(g):
        found[unit_stride] = _unit_stride_cost(g, cx, cy)
    if karatsuba.applies(g):
        found[karatsuba] = _karatsuba_cost(g, cx, cy)
    if fourier.applies(g):
        found[fourier] = _fourier_cost(g, batch, cx, cy)
    if onednn.applies(dtype):
        if name == "correlate":  # multiplies the same patches faster
            found = {form: cost for form, cost in found.items() if form not in PATCHES}
        found[onednn] = _onednn_cost(name, g, batch, cx, cy)
    return {form: cost for form, cost in found.items() if hasattr(form, name)}


def choose(name: str, g: Geometry, batch: int, cx: int, cy: int, dtype: Any = jnp.float32) -> Form:
    """The form of least cost, for the arguments of `costs`.

    Under `jax.default_matmul_precision("highest")` only forms in TERM_BY_TERM are considered.
    """
    found = costs(name, g, batch, cx, cy, dtype)
    if jax.config.jax_default_matmul_precision in HIGHEST:  # pyright: ignore[reportAttributeAccessIssue]
        found = {form: cost for form, cost in found.items() if form in TERM_BY_TERM}
    return min(found, key=lambda form: found[form])
