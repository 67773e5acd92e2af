"""XLA's own convolution of stride 1 over the phases of the image.

XLA has two kernels for a convolution on CPU. Eigen's gathers patches while it multiplies, on all
cores, and is faster than a matrix product. YNNPACK's first writes all patches of a large image to
fresh memory, on one core, and takes three times as long. XLA uses YNNPACK's for every convolution
whose output is no larger than its input along either axis (jax 0.10), so one more row of output is
computed and discarded. XLA has no such kernel for the gradient with respect to the weights.
"""

from jax import Array

from jaxgen.convolutions.geometry import Geometry, convolution
from jaxgen.convolutions.phases import join, split, split_kernel


def applies(g: Geometry) -> bool:
    """Whether a phase has more than one tap; with one, a convolution is a matrix product."""
    return g.phase_taps != (1, 1)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """Stacks all images into a single one and removes the output rows that overlap two images."""
    (h, width), (qh, _) = g.grid, g.phase_taps
    x = split(g, x, g.grid)
    n, rows, cols, c = x.shape
    y = convolution(x.reshape(1, n * rows, cols, c), split_kernel(g, w), (1, 1), ((0, qh), (0, 0)))
    return y[0, : n * rows].reshape(n, rows, width, -1)[:, :h]


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """A convolution of y, padded on all sides, with the flipped kernel."""
    rows, cols = (taps - 1 for taps in g.phase_taps)
    w = split_kernel(g, w)[::-1, ::-1].swapaxes(2, 3)
    return join(g, convolution(y, w, (1, 1), ((rows, rows), (cols, cols))))
