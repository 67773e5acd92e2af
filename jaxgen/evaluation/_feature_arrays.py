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


def checked_images(images: ArrayLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """The images as float32 [N, *image_shape] in [0, 1]; uint8 is divided by 255.

    Raises:
      UserError: where they have another shape or dtype, are none, or leave [0, 1]; for NaN.
    """
    values = np.asarray(images)
    if values.ndim != 4 or values.shape[1:] != tuple(image_shape) or not len(values):
        expected = ", ".join(map(str, image_shape))
        raise UserError(
            f"expected images of shape [N, {expected}] for these features, got "
            f"{list(values.shape)}: convert them with evaluation.converted, or take other features"
        )
    if values.dtype == np.uint8:
        return values.astype(np.float32) / 255
    if values.dtype.kind != "f":
        raise UserError(f"expected images as uint8 or floats in [0, 1], got {values.dtype}")
    bad = np.isnan(values).any(axis=(1, 2, 3))
    if bad.any():
        raise UserError(
            f"expected images without NaN, got NaN in {bad.sum()} of {len(values)} (the first is "
            f"number {bad.argmax()}): the model has diverged, or the images are damaged"
        )
    low, high = values.min(), values.max()
    if low < -1e-3 or high > 1 + 1e-3:
        raise UserError(
            f"expected floats in [0, 1], got values from {low:g} to {high:g}: scale them first"
        )
    return values.astype(np.float32)
