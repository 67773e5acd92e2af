"""Fidelity and diversity from the neighbourhoods of features."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.evaluation._feature_arrays import feature_matrices
from jaxgen.evaluation.neighbours import neighbour_radii, squared_distances


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1].

    Attributes:
      precision: of the samples, those within the neighbourhood of a real image.
      recall: of the real images, those within the neighbourhood of a sample.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Both near 1 for equal distributions.

    Attributes:
      density: real neighbourhoods that hold a sample, per sample, divided by k; may exceed 1.
      coverage: share of the real images with a sample in their neighbourhood, in [0, 1].
    """

    density: float
    coverage: float


def precision_recall(
    samples: ArrayLike, reference: ArrayLike, num_neighbours: int = 3
) -> PrecisionRecall:
    """Improved precision and recall.

        precision = 1/N Σ_j [∃ i: ‖x_j − y_i‖ ≤ r(y_i)]     r: distance to the k-th neighbour
        recall    = 1/M Σ_i [∃ j: ‖x_j − y_i‖ ≤ r(x_j)]        in the same set

    Args:
      samples: features x, [N, F].
      reference: features y, [M, F].
      num_neighbours: k.

    Raises:
      UserError: where a set has no more than k images, or features are not finite.

    References:
      Kynkäänniemi et al., arXiv:1904.06991.
    """
    x, y = feature_matrices(samples, reference)
    radii_x, radii_y = neighbour_radii(x, num_neighbours), neighbour_radii(y, num_neighbours)
    precise, recalled = [], np.zeros(len(y), bool)
    for first, distances in squared_distances(x, y):
        rows = radii_x[first : first + len(distances), None]
        precise.append((distances <= radii_y[None]).any(axis=1))
        recalled |= (distances <= rows).any(axis=0)
    return PrecisionRecall(float(np.concatenate(precise).mean()), float(recalled.mean()))


def density_coverage(
    samples: ArrayLike, reference: ArrayLike, num_neighbours: int = 5
) -> DensityCoverage:
    """Density and coverage, from the neighbourhoods of real images alone.

        density  = 1/(k N) Σ_j Σ_i [‖x_j − y_i‖ ≤ r(y_i)]
        coverage = 1/M Σ_i [∃ j: ‖x_j − y_i‖ ≤ r(y_i)]

    One outlier among the samples cannot raise them, as it can raise recall.

    Args:
      samples: features x, [N, F].
      reference: features y, [M, F].
      num_neighbours: k.

    Raises:
      UserError: where the reference has no more than k images, or features are not finite.

    References:
      Naeem et al., arXiv:2002.09797.
    """
    x, y = feature_matrices(samples, reference)
    radii, total, covered = neighbour_radii(y, num_neighbours), 0, np.zeros(len(y), bool)
    for _, distances in squared_distances(x, y):
        inside = distances <= radii[None]
        total += int(inside.sum())
        covered |= inside.any(axis=0)
    return DensityCoverage(total / (num_neighbours * len(x)), float(covered.mean()))
