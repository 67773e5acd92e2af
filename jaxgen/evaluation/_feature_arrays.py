"""What every measure on features asks of its arrays."""

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError


def feature_matrix(features: ArrayLike, name: str = "features") -> np.ndarray:
    """The features as float64 [N, F].

    Raises:
      UserError: where they are not [N, F] with N ≥ 1, or not all finite.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise UserError(
            f"expected {name} as an array [N, F], got {list(values.shape)}: one row per image"
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise UserError(
            f"expected finite {name}, got NaN or infinity in {bad.sum()} of {len(values)} rows "
            f"(the first is row {bad.argmax()}): look for NaN in the images"
        )
    return values


def feature_matrices(samples: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64, [N, F] and [M, F].

    Raises:
      UserError: where one is not a feature matrix, or F differs.
    """
    first = feature_matrix(samples, "features of the samples")
    second = feature_matrix(reference, "features of the reference")
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"expected as many features of the samples as of the reference, got {first.shape[1]} "
            f"and {second.shape[1]}: use one feature network for both"
        )
    return first, second
