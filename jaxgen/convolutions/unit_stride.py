"""The definition, by XLA's own convolution of stride 1 over the phases of the image.

XLA has two kernels for a convolution on a CPU. Eigen's gathers patches as it multiplies, on all
cores, faster than a product of matrices. YNNPACK's, where the image is large, first writes all
patches to fresh memory, on one core, and takes three times as long; XLA hands it every
convolution whose output is no larger than its input along either axis (jax 0.10). So the output
is made larger by a row that nobody reads. There is no kernel for the gradient in the weights.
"""

from jax import Array

from jaxgen.convolutions.geometry import Geometry, convolution
from jaxgen.convolutions.phases import join, split, split_kernel


def applies(g: Geometry) -> bool:
    """Whether a phase has more than one tap: with one, a convolution is a product of matrices."""
    return g.phase_taps != (1, 1)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """Of all images, one above the other, as one: the places between two of them are left out."""
    (h, width), (qh, _) = g.grid, g.phase_taps
    x = split(g, x, g.grid)
    n, rows, cols, c = x.shape
    y = convolution(x.reshape(1, n * rows, cols, c), split_kernel(g, w), (1, 1), ((0, qh), (0, 0)))
    return y[0, : n * rows].reshape(n, rows, width, -1)[:, :h]


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """With the kernel turned round, over a grid padded on all sides."""
    rows, cols = (taps - 1 for taps in g.phase_taps)
    w = split_kernel(g, w)[::-1, ::-1].swapaxes(2, 3)
    return join(g, convolution(y, w, (1, 1), ((rows, rows), (cols, cols))))
