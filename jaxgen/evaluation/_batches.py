"""A compiled function applied to any number of images, in batches of one size."""

from collections.abc import Callable

import jax
import numpy as np

BATCH_SIZE = 250


def in_batches(
    function: Callable[..., tuple[jax.Array, ...]],
    images: np.ndarray,
    *others: np.ndarray | None,
    batch_size: int = BATCH_SIZE,
) -> list[np.ndarray]:
    """Applies `function` to batches and concatenates what it gives.

    The last batch is filled up with its last image, whose results are dropped: one shape is
    compiled once.

    Args:
      function: (images [B, ...], *others [B, ...]) -> tuple of arrays [B, ...].
      images: [N, ...], N ≥ 1.
      *others: arrays [N, ...]; each None is left out.
      batch_size: B.
    """
    arrays = [images, *(other for other in others if other is not None)]
    batch_size = min(batch_size, len(images))
    parts = []
    for first in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(first, first + batch_size), len(images) - 1)
        outputs = function(*(array[rows] for array in arrays))
        parts.append([np.asarray(output)[: len(images) - first] for output in outputs])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
