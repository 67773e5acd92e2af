"""The Fréchet distance between two sets of features, each taken for a Gaussian."""

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation._feature_arrays import feature_matrices


def frechet_distance(samples: ArrayLike, reference: ArrayLike) -> float:
    r"""Fréchet distance between Gaussians fitted to two sets of features.

        d = ‖m₁ − m₂‖² + tr(C₁ + C₂ − 2 (C₁^½ C₂ C₁^½)^½)

    m are means, C unbiased covariances (divided by N − 1), in float64. Both square roots are of
    symmetric matrices and taken from eigenvalues. The value is biased upwards for small N: compare
    it with the distance between two sets of real images of the same sizes. It depends on the
    features: name the network beside it.

    Args:
      samples: features [N, F], N > F.
      reference: features [M, F], M > F.

    Returns:
      d ≥ 0, in squared units of the features.

    Raises:
      UserError: where a set has no more images than features (its covariance is singular), or
        features are not finite.

    References:
      Heusel et al., arXiv:1706.08500, with the features of Inception; Dowson and Landau, 1982.
    """
    first, second = feature_matrices(samples, reference)
    (mean_1, covariance_1), (mean_2, covariance_2) = _moments(first), _moments(second)
    root_1 = _symmetric_root(covariance_1)
    eigenvalues = np.linalg.eigvalsh(root_1 @ covariance_2 @ root_1)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = np.sum((mean_1 - mean_2) ** 2)
    distance += np.trace(covariance_1) + np.trace(covariance_2) - 2 * trace_of_root
    return max(float(distance), 0.0)  # equal sets give 0 up to rounding


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and unbiased covariance [F, F]."""
    num_images, num_features = features.shape
    if num_images <= num_features:
        raise UserError(
            f"expected more images than the {num_features} features for a covariance, got "
            f"{num_images}: give at least {num_features + 1} images"
        )
    mean = features.mean(axis=0)
    centred = features - mean[None]
    return mean, centred.T @ centred / (num_images - 1)


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semi-definite matrix."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0))[None]) @ vectors.T
