"""Which form computes a convolution on CPU: the one that costs least, by counting.

    cost = floating-point operations + 128 * numbers written on the way

A processor does some hundred operations in the time that a number takes to be written to the
cache and read back; 128 is a round figure for it, not a fit to one machine: at half and at twice
that, four in five choices for the layers of benchmarks/layers.py and of the systems here
stay what they are. Each form is counted by what it writes for one image, roughly: how often a
number passes through memory before it reaches the product.

Karatsuba's and Fourier's forms are as precise as the definition by the norm of what they give, but
not number by number: they add and take away again, so that a small sum carries the rounding of
large ones, and with Fourier's one whose terms are all 0 comes out as noise. Who minds asks for
precision "highest", as of any product in JAX, and gets the definition.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxgen.convolutions import direct, fourier, karatsuba, neighbours, onednn, unit_stride
from jaxgen.convolutions.geometry import Geometry
from jaxgen.convolutions.neighbours import FOURS, PAIRS


class Form(Protocol):
    """A module, or `Neighbours`. All but `unit_stride` have `correlate` as well."""

    def convolve(self, g: Geometry, x: Array, w: Array, /) -> Array:
        """Value."""
        ...

    def transpose(self, g: Geometry, y: Array, w: Array, /) -> Array:
        """Gradient in x, given the gradient in y."""
        ...


NUMBER = 128
PATCHES = (direct, PAIRS, FOURS)
AS_DEFINED = (*PATCHES, unit_stride, onednn)
HIGHEST = ("highest", "float32")  # JAX's two names for it


def _direct_cost(g: Geometry, cx: int, cy: int) -> float:
    (h, w), (kh, kw), (sh, sw), (qh, qw) = g.grid, g.kernel, g.strides, g.phase_taps
    rows = (h + qh - 1) * sh
    # the image cut to size, its columns side by side, then its rows
    numbers = cx * (rows * (w + qw - 1) * sw + rows * w * kw + h * kh * w * kw)
    return 2 * h * kh * w * kw * cx * cy + NUMBER * numbers


def _neighbours_cost(form: neighbours.Neighbours, g: Geometry, cx: int, cy: int) -> float:
    return _direct_cost(form.grouped(g), cx, form.places * cy)


def _unit_stride_cost(g: Geometry, cx: int, cy: int) -> float:
    taps, cx = math.prod(g.phase_taps), cx * math.prod(g.strides)
    (h, w), (qh, qw) = g.grid, g.phase_taps
    # Each tap of each place starts a run of memory anew, which costs as much as two numbers. The
    # phases are written and taken apart, the grid is cropped.
    places = (h + qh - 1) * w * (taps * (2 * cx * cy + 2 * NUMBER) + cy * NUMBER)
    return places + 2 * NUMBER * (h + qh - 1) * (w + qw - 1) * cx


def _onednn_cost(name: str, g: Geometry, batch: int, cx: int, cy: int) -> float:
    def flops(places, taps, channels, features):  # features are computed a register at a time
        return 2 * places * taps * channels * onednn.LANES * -(-features // onednn.LANES)

    if name == "correlate":
        return _direct_cost(g, cx, cy)
    kernel = NUMBER * 3 * math.prod(g.kernel) * cx * cy / batch  # turned round, and arranged
    if name == "convolve":  # the image is read where it lies
        return flops(math.prod(g.grid), math.prod(g.kernel), cx, cy) + kernel
    (h, w), (qh, qw), phases = g.grid, g.phase_taps, math.prod(g.strides)
    if phases == 1:
        return flops(math.prod(g.image), qh * qw, cy, cx) + kernel
    places = (h + qh - 1) * (w + qw - 1)  # the phases are written, taken apart and cropped
    return flops(places, qh * qw, cy, phases * cx) + kernel + NUMBER * 2 * places * phases * cx


def _karatsuba_cost(g: Geometry, cx: int, cy: int) -> float:
    products, cx = 9 * math.prod(karatsuba.tiles(g)), cx * math.prod(g.strides)
    # padded, by phases, rows combined, then columns: two and a half times
    return products * (2 * cx * cy + 2.5 * NUMBER * (cx + cy))


def _fourier_cost(g: Geometry, batch: int, cx: int, cy: int) -> float:
    rows, cols = (fourier.num_products(size) for size in fourier.sizes(g))

    def factor(size, channels):  # space before images, the rows' matrix, row by row the columns'
        height, width = size
        flops = 2 * rows * width * (height + cols)
        return channels * (flops + NUMBER * (height * width + 2 * rows * width + rows * cols))

    kernel = factor(g.kernel, cx * cy) / batch
    return rows * cols * 2 * cx * cy + factor(g.image, cx) + factor(g.grid, cy) + kernel


def costs(
    name: str, g: Geometry, batch: int, cx: int, cy: int, dtype: Any = jnp.float32
) -> dict[Form, float]:
    """What "convolve", "transpose" or "correlate" costs an image in each form that has it.

    x is [batch, H, W, cx], y [batch, h, w, cy].
    """
    found: dict[Form, float] = {direct: _direct_cost(g, cx, cy)}
    for form in (PAIRS, FOURS):
        if form.applies(g):
            found[form] = _neighbours_cost(form, g, cx, cy)
    if unit_stride.applies(g):
        found[unit_stride] = _unit_stride_cost(g, cx, cy)
    if karatsuba.applies(g):
        found[karatsuba] = _karatsuba_cost(g, cx, cy)
    if fourier.applies(g):
        found[fourier] = _fourier_cost(g, batch, cx, cy)
    if onednn.applies(dtype):
        if name == "correlate":  # of the same patches, by a product that need not be widened
            found = {form: cost for form, cost in found.items() if form not in PATCHES}
        found[onednn] = _onednn_cost(name, g, batch, cx, cy)
    return {form: cost for form, cost in found.items() if hasattr(form, name)}


def choose(name: str, g: Geometry, batch: int, cx: int, cy: int, dtype: Any = jnp.float32) -> Form:
    """The form of least cost for "convolve", "transpose" or "correlate".

    Under `jax.default_matmul_precision("highest")` it is one of those that add each term as it is.
    """
    found = costs(name, g, batch, cx, cy, dtype)
    if jax.config.jax_default_matmul_precision in HIGHEST:  # pyright: ignore[reportAttributeAccessIssue]
        found = {form: cost for form, cost in found.items() if form in AS_DEFINED}
    return min(found, key=lambda form: found[form])
