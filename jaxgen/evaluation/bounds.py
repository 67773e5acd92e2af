"""Lower bounds of log p(x) at any number of samples, and how the bound divides.

L_K = E[log 1/K Σ_k w_k],   L_1 ≤ L_2 ≤ … ≤ log p(x)
L_1 = ELBO = −(distortion + rate)
distortion = −E_q[log p(x|z)],   rate = E_x KL(q(z|x) ‖ p(z))
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation import _chunks, _weights
from jaxgen.evaluation._density import check_score
from jaxgen.evaluation.encoding import posteriors
from jaxgen.evaluation.likelihood import importance_chunks
from jaxgen.types import Array, Density, Learner, PyTree


class RateDistortion(NamedTuple):
    """Means over images, in nats per image.

    Attributes:
      rate: KL(q(z|x) ‖ p(z)), in closed form: what a code of z costs.
      distortion: −E_q[log p(x|z)], what the image costs given z; of an unnormalized model, a loss.
      elbo: −(rate + distortion).
    """

    rate: float
    distortion: float
    elbo: float


def elbo(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: int = 100,
    labels: ArrayLike | None = None,
    score: bool = False,
) -> np.ndarray:
    """The evidence lower bound L_1 of each image, a mean over samples of log w.

    Args:
      learner: of a model with a density.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: consumed.
      num_samples: how many the mean is over; more make it less noisy, not tighter.
      labels: [N], where the system is conditional.
      score: accept a model without a log-likelihood; the result is then a score, not nats.

    Returns:
      [N], nats.

    Raises:
      UserError: where the model has no log-likelihood and `score` is not set.
    """
    parts = importance_chunks(learner, state, images, key, num_samples, labels, score=score)
    return np.concatenate([part.elbo for part in parts])


def importance_bounds(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: Sequence[int] = (1, 10, 100, 1000),
    labels: ArrayLike | None = None,
    score: bool = False,
) -> np.ndarray:
    """The bounds L_K of each image at several K, all from the same samples.

    Of the M = max(num_samples) weights, the estimate of L_K is the mean over M / K groups of K.
    Where each K divides the next, the estimates themselves rise with K, whatever the noise.

    Args:
      learner: of a model with a density.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: consumed.
      num_samples: the values of K; each divides the largest.
      labels: [N], where the system is conditional.
      score: accept a model without a log-likelihood; the result is then a score, not nats.

    Returns:
      [len(num_samples), N], nats.

    Raises:
      UserError: where some K does not divide the largest, or the model has no log-likelihood and
        `score` is not set.

    References:
      Burda et al., arXiv:1509.00519.
    """
    density = check_score(learner, score)
    most = max(num_samples)
    _chunks.check_images(images, labels, min(num_samples))
    wrong = [k for k in num_samples if most % k]
    if wrong:
        raise UserError(
            f"expected every number of samples to divide the largest, {most}, got {wrong[0]}: "
            "choose other numbers"
        )
    parts = []
    images_at_once, samples_at_once = _chunks.chunk_sizes(
        learner.image_shape, len(np.asarray(images)), most
    )
    for chunk in _chunks.image_chunks(images, labels, images_at_once):
        bounds = _bounds(
            density,
            tuple(num_samples),
            samples_at_once,
            state,
            chunk.images,
            _chunks.given(chunk.labels),
            chunk.indices,
            key,
        )
        parts.append(np.asarray(bounds, np.float64)[:, : chunk.size])
    return np.concatenate(parts, axis=1)


def rate_distortion(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: int = 100,
    labels: ArrayLike | None = None,
    score: bool = False,
) -> RateDistortion:
    """The two terms of the bound, means over images.

    Args:
      learner: of a model with a density and one layer of latents.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: consumed.
      num_samples: of z for each image.
      labels: [N], where the system is conditional.
      score: accept a model without a log-likelihood; its distortion is then a loss, not nats.

    Raises:
      UserError: where the model has no log-likelihood and `score` is not set, or two layers of
        latents.

    References:
      Alemi et al., Fixing a Broken ELBO, arXiv:1711.00464.
    """
    bound = elbo(learner, state, images, key, num_samples, labels, score).mean()
    observe_key, _ = jax.random.split(key)  # the same binarization as that of the bound
    mean, log_var = posteriors(learner, state, images, observe_key, labels)
    rate = 0.5 * np.sum(np.expm1(log_var) - log_var + mean**2, axis=1).mean()
    return RateDistortion(float(rate), float(-bound - rate), float(bound))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _bounds(
    density: Density,
    num_samples: tuple[int, ...],
    samples_at_once: int,
    state: PyTree,
    images: Array,
    labels: Array | None,
    indices: Array,
    key: Array,
) -> Array:
    """Estimates of L_K, [len(num_samples), B]."""
    encoded = _weights.encoded(density, state, images, labels, indices, key)
    most = max(num_samples)
    log_weights = _weights.all_log_weights(density, state, encoded, most, samples_at_once)

    def grouped(size: int) -> Array:
        groups = log_weights.reshape(most // size, size, -1)
        return (jax.nn.logsumexp(groups, axis=1) - math.log(size)).mean(axis=0)

    return jnp.stack([grouped(size) for size in num_samples])
