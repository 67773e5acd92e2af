"""Latent space: walks through it, lines between images, and which of its dimensions are in use."""

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.types import Array, Learner, PyTree

ACTIVE_VARIANCE = 0.01  # Burda et al., arXiv:1509.00519, section 5
IMAGES_AT_ONCE = 512


def traversal(
    learner: Learner,
    state: PyTree,
    latents: Array,
    dimension: int,
    values: ArrayLike,
    label: int | None = None,
) -> Array:
    """Images decoded while one latent dimension takes `values` and the others stay.

    Args:
      learner: a system with a decoder.
      state: its state.
      latents: [D], where the walk starts.
      dimension: the one that moves.
      values: [N], what it takes.
      label: of all the images, where the system is conditional.

    Returns:
      [N, H, W, C] in [0, 1].
    """
    values = jnp.asarray(values)
    walk = jnp.tile(latents, (len(values), 1)).at[:, dimension].set(values)
    labels = {} if label is None else {"labels": jnp.full(len(values), label, jnp.int32)}
    return learner.require("decode")(state, walk, **labels)


def interpolation(start: Array, end: Array, num_steps: int, spherical: bool = False) -> Array:
    """Latents from `start` to `end`, both included, in equal steps.

    linear:     (1 − t) a + t b
    spherical:  (sin((1 − t) Ω) a + sin(t Ω) b) / sin Ω,   Ω the angle between a and b

    In many dimensions nearly all of N(0, I) lies near a sphere, whose inside the linear path cuts
    through and the spherical one does not (White, arXiv:1609.04468). Where a and b are parallel,
    opposite or zero, the sphere shows no way: the spherical path is the linear one.

    Args:
      start: a, [D].
      end: b, [D].
      num_steps: N, at least 2.
      spherical: which path.

    Returns:
      [N, D].
    """
    t = jnp.linspace(0.0, 1.0, num_steps)[:, None]
    a, b = start[None], end[None]
    linear = (1 - t) * a + t * b
    if not spherical:
        return linear
    lengths = jnp.linalg.norm(start) * jnp.linalg.norm(end)
    cosine = jnp.where(lengths > 0, start @ end / jnp.where(lengths > 0, lengths, 1), 1.0)
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    sine = jnp.sin(angle)
    path = (jnp.sin((1 - t) * angle) * a + jnp.sin(t * angle) * b) / sine
    return jnp.where(sine > 1e-3, path, linear)


def posterior(
    learner: Learner, state: PyTree, images: ArrayLike, labels: Array | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log_var of q(z|x) for a whole data set, [N, D] each, in bounded memory."""
    images, parts = jnp.asarray(images), []
    for first in range(0, len(images), IMAGES_AT_ONCE):
        rows = slice(first, first + IMAGES_AT_ONCE)
        given = {} if labels is None else {"labels": labels[rows]}
        parts.append(learner.require("encode")(state, images[rows], **given))
    mean, log_var = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2))
    return mean, log_var


def active(mean: ArrayLike) -> np.ndarray:
    """Which latent dimensions tell images apart: Var_x(mean_d(x)) > 0.01.

    The other dimensions have the prior as their posterior whatever the image: the decoder has
    learnt to ignore them (Burda et al., arXiv:1509.00519, section 5, "active units").

    Args:
      mean: posterior means of a data set, [N, D].

    Returns:
      bool [D].
    """
    return np.var(np.asarray(mean, np.float64), axis=0) > ACTIVE_VARIANCE
