"""Images drawn from a trained model for evaluation."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import Array, Learner, PyTree

AT_ONCE = 250


def draw_samples(
    learner: Learner,
    state: PyTree,
    num_samples: int,
    key: Array,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Draws images in batches, rounded to the 8 bits in which data are kept.

    Args:
      learner: a system that can sample.
      state: its state.
      num_samples: N.
      key: consumed; each batch of 250 has its own.
      labels: [N], for a conditional system; None draws them uniformly.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: where the images would not fit into memory, or some are NaN.
    """
    if num_samples < 1:
        raise UserError(f"expected to draw at least 1 sample, got {num_samples}")
    _check_memory(num_samples * int(np.prod(learner.image_shape)), num_samples)
    sample, parts = learner.require("sample"), []
    for first in range(0, num_samples, AT_ONCE):
        given = {}
        if labels is not None:
            rows = np.minimum(np.arange(first, first + AT_ONCE), num_samples - 1)
            given = {"labels": jnp.asarray(labels[rows], jnp.int32)}
        images = np.asarray(sample(state, AT_ONCE, jax.random.fold_in(key, first), **given))
        if np.isnan(images).any():
            raise UserError("the model draws NaN images: its training has diverged")
        parts.append(np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8))
    return np.concatenate(parts)[:num_samples]


def _check_memory(num_bytes: int, num_samples: int) -> None:
    """Raises UserError where the samples alone would take more than the machine's memory."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not known on this system
        return
    if num_bytes > available // 2:
        raise UserError(
            f"expected samples that fit into half of the memory ({available / 2**30:.0f} GiB), got "
            f"{num_samples:,} of them, {num_bytes / 2**30:.0f} GiB: take fewer"
        )
