"""Nearest neighbours in bounded memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation._feature_arrays import feature_matrix

BYTES_AT_ONCE = 64 * 2**20  # of distances


def nearest(queries: ArrayLike, references: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The nearest reference of each query by Euclidean distance.

    Images are flattened, uint8 divided by 255. With training images as references this shows
    memorization: a copy has distance 0.

    Args:
      queries: [N, ...].
      references: [M, ...].

    Returns:
      Indices into the references, int [N], and the distances, float64 [N].

    Raises:
      UserError: where the shapes of one query and one reference differ, or values are not finite.
    """
    query_images, reference_images = np.asarray(queries), np.asarray(references)
    if query_images.shape[1:] != reference_images.shape[1:] or not len(reference_images):
        raise UserError(
            f"expected queries and references of one shape, got {list(query_images.shape)} and "
            f"{list(reference_images.shape)}"
        )
    x = _flat(query_images)
    best, indices = np.full(len(x), np.inf), np.zeros(len(x), int)
    at_once = max(1, BYTES_AT_ONCE // (8 * max(len(x), x.shape[1])))
    for first in range(0, len(reference_images), at_once):
        y = _flat(reference_images[first : first + at_once])
        distances = np.sum(y**2, axis=1)[None] - 2 * x @ y.T  # without ‖x‖², alike for all
        nearest_here = distances.argmin(axis=1)
        smallest = distances[np.arange(len(x)), nearest_here]
        indices = np.where(smallest < best, first + nearest_here, indices)
        best = np.minimum(best, smallest)
    # The expanded squares lose digits where two rows are nearly equal: a copy must give 0.
    exact = [
        np.linalg.norm(row - _flat(reference_images[index : index + 1])[0])
        for row, index in zip(x, indices, strict=True)
    ]
    return indices, np.array(exact)


def neighbour_radii(features: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row, [N].

    Raises:
      UserError: where there are no more rows than neighbours.
    """
    if len(features) <= num_neighbours:
        raise UserError(
            f"expected more than {num_neighbours} images to find {num_neighbours} neighbours of "
            f"each, got {len(features)}: give more images"
        )
    radii = np.empty(len(features))
    for first, distances in squared_distances(features, features):
        rows = np.arange(len(distances))
        distances[rows, first + rows] = np.inf
        kth = np.partition(distances, num_neighbours - 1, axis=1)[:, num_neighbours - 1]
        radii[first : first + len(distances)] = kth
    return radii


def squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first row, distances [rows, M]) for as many rows of x as fit in memory."""
    centre = y.mean(axis=0, keepdims=True)  # small numbers lose fewer digits
    x, y = x - centre, y - centre
    squares = np.sum(y**2, axis=1)
    at_once = max(1, BYTES_AT_ONCE // (8 * len(y)))
    for first in range(0, len(x), at_once):
        rows = x[first : first + at_once]
        distances = np.sum(rows**2, axis=1)[:, None] + squares[None] - 2 * rows @ y.T
        yield first, np.maximum(distances, 0)


def _flat(images: ArrayLike) -> np.ndarray:
    values = np.asarray(images)
    scale = 255 if values.dtype == np.uint8 else 1
    return feature_matrix(values.reshape(len(values), -1) / scale, "images")
