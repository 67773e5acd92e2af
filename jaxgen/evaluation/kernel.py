"""The kernel distance (squared maximum mean discrepancy) between two sets of features."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation._feature_arrays import feature_matrices

NUM_BLOCKS = 10
MAX_BLOCK_SIZE = 1000  # as published; also what bounds the memory of a block


class KernelDistance(NamedTuple):
    """A mean over blocks of images.

    Attributes:
      value: the distance; unbiased, so it is negative at times for equal distributions.
      standard_error: of `value`, from the spread of the blocks.
    """

    value: float
    standard_error: float


def kernel_distance(samples: ArrayLike, reference: ArrayLike, seed: int = 0) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy with the cubic polynomial kernel.

        k(x, y) = (x · y / F + 1)³
        MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) − 2 mean_{i,j} k(x_i, y_j)

    Both sets are shuffled and divided into the same number of disjoint blocks, at least 10 and
    of at most 1,000 images each. The value is the mean over blocks.

    Args:
      samples: features [N, F], N ≥ 20.
      reference: features [M, F], M ≥ 20.
      seed: of the division into blocks.

    Returns:
      The distance and its standard error.

    Raises:
      UserError: where a set has fewer than 20 images, or features are not finite.

    References:
      Bińkowski et al., Demystifying MMD GANs, arXiv:1801.01401.
    """
    first, second = feature_matrices(samples, reference)
    least = min(len(first), len(second))
    if least < 2 * NUM_BLOCKS:
        raise UserError(
            f"expected at least {2 * NUM_BLOCKS} images in each set for the kernel distance, got "
            f"{least}: give more images"
        )
    num_blocks = max(NUM_BLOCKS, -(-max(len(first), len(second)) // MAX_BLOCK_SIZE))
    num_blocks = min(num_blocks, least // 2)
    rng = np.random.default_rng(seed)
    blocks_1 = np.array_split(first[rng.permutation(len(first))], num_blocks)
    blocks_2 = np.array_split(second[rng.permutation(len(second))], num_blocks)
    values = np.array([_unbiased(x, y) for x, y in zip(blocks_1, blocks_2, strict=True)])
    return KernelDistance(float(values.mean()), float(values.std(ddof=1) / np.sqrt(num_blocks)))


def _unbiased(x: np.ndarray, y: np.ndarray) -> float:
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * float(_cubic_kernel(x, y).mean())


def _mean_of_pairs(x: np.ndarray) -> float:
    """The mean of k over pairs of two different images."""
    kernel = _cubic_kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def _cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
