"""Which form computes a convolution on CPU: the one that costs least, by counting.

    cost = floating-point operations + 64 * temporary numbers written

A processor does some tens of operations in the time that a number takes to be written to the
cache and read back; 64 is a round figure for it, not a fit to one machine: at half and at twice
that, every choice that changes is one between forms of nearly equal cost.
"""

import math
from types import ModuleType

from jaxgen.convolutions import direct, fourier, karatsuba, pairs
from jaxgen.convolutions.geometry import Geometry

NUMBER = 64


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
    """The form of least cost: a module with convolve, transpose and correlate."""
    found = costs(g, batch, cx, cy)
    return min(found, key=lambda form: found[form])
