"""Which form computes a convolution on CPU: the one that costs least, by counting.

    cost = floating-point operations + 64 * temporary numbers written

A processor does some tens of operations in the time that a number takes to be written to the
cache and read back; 64 is a round figure for it, not a fit to one machine: at half and at twice
that, every choice that changes is one between forms of nearly equal cost.

Karatsuba's and Fourier's forms are as precise as the definition by the norm of what they give, but
not number by number: they add and take away again, so that a small sum carries the rounding of
large ones, and with Fourier's one whose terms are all 0 comes out as noise. Who minds asks for
precision "highest", as of any product in JAX, and gets the definition.
"""

import math
from types import ModuleType

import jax

from jaxgen.convolutions import direct, fourier, karatsuba, pairs
from jaxgen.convolutions.geometry import Geometry

NUMBER = 64
HIGHEST = ("highest", "float32")  # JAX's two names for it


def _direct_cost(g: Geometry, cx: int, cy: int) -> float:
    copied = math.prod(g.grid) * math.prod(g.kernel) * cx
    return copied * (2 * cy + NUMBER)


def _pairs_cost(g: Geometry, cx: int, cy: int) -> float:
    return _direct_cost(pairs.paired(g), cx, 2 * cy)


def _karatsuba_cost(g: Geometry, cx: int, cy: int) -> float:
    products, cx = 9 * math.prod(karatsuba.tiles(g)), cx * math.prod(g.strides)
    return products * (2 * cx * cy + NUMBER * (cx + cy))


def _fourier_cost(g: Geometry, batch: int, cx: int, cy: int) -> float:
    rows, cols = (fourier.num_products(size) for size in fourier.sizes(g))

    def factor(size, channels):  # matrices applied along rows, then along columns
        height, width = size
        flops = 2 * rows * width * (height + cols)
        return channels * (flops + NUMBER * rows * cols)

    kernel = factor(g.kernel, cx * cy) / batch
    return rows * cols * 2 * cx * cy + factor(g.image, cx) + factor(g.grid, cy) + kernel


def costs(g: Geometry, batch: int, cx: int, cy: int) -> dict[ModuleType, float]:
    """What each form that applies costs an image. x is [batch, H, W, cx], y [batch, h, w, cy]."""
    found = {direct: _direct_cost(g, cx, cy)}
    if pairs.applies(g):
        found[pairs] = _pairs_cost(g, cx, cy)
    if karatsuba.applies(g):
        found[karatsuba] = _karatsuba_cost(g, cx, cy)
    if fourier.applies(g):
        found[fourier] = _fourier_cost(g, batch, cx, cy)
    return found


def choose(g: Geometry, batch: int, cx: int, cy: int) -> ModuleType:
    """The form of least cost: a module with convolve, transpose and correlate.

    Under `jax.default_matmul_precision("highest")` it is one of those that add each term as it is.
    """
    found = costs(g, batch, cx, cy)
    if jax.config.jax_default_matmul_precision in HIGHEST:  # pyright: ignore[reportAttributeAccessIssue]
        found = {form: cost for form, cost in found.items() if form in (direct, pairs)}
    return min(found, key=lambda form: found[form])
