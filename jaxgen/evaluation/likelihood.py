"""log p(x) of latent variable models by importance sampling with the encoder.

    log p(x) ≈ L_K = log 1/K Σ_k w_k,   w_k = p(x, z_k) / q(z_k|x),   z_k ~ q(z|x)

L_K is a lower bound in expectation, rises with K and tends to log p(x) (Burda et al.,
arXiv:1509.00519). For large K its bias is near −½ (1/ESS − 1/K), with the effective sample size
ESS = (Σ w)² / Σ w². Of few effective samples no estimate can be trusted.
"""

import functools
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.evaluation import _chunks, _weights
from jaxgen.evaluation._density import check_score
from jaxgen.types import Array, Density, Learner, PyTree

FEW_EFFECTIVE_SAMPLES = 10


class ImportanceEstimate(NamedTuple):
    """Estimates for each image, float64 [N].

    Attributes:
      log_likelihood: L_K in nats; of an unnormalized model a score.
      elbo: mean of log w over the samples, in nats: L_1, without bias.
      effective_sample_size: of the weights, from 1 to K.
    """

    log_likelihood: np.ndarray
    elbo: np.ndarray
    effective_sample_size: np.ndarray

    @property
    def mean(self) -> float:
        """Mean of log_likelihood over images."""
        return float(self.log_likelihood.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` as an estimate for all images of the kind; NaN for one image."""
        if len(self.log_likelihood) < 2:
            return float("nan")
        return float(self.log_likelihood.std(ddof=1) / np.sqrt(len(self.log_likelihood)))

    @property
    def warning(self) -> str | None:
        """One line where images have fewer than 10 effective samples."""
        few = int((self.effective_sample_size < FEW_EFFECTIVE_SAMPLES).sum())
        if not few:
            return None
        return (
            f"{few} of {len(self.elbo)} images have fewer than {FEW_EFFECTIVE_SAMPLES} effective "
            f"samples (median {np.median(self.effective_sample_size):.1f}): log p(x) is "
            "underestimated there; take more samples"
        )


class _Sums(NamedTuple):
    """Streaming sums over samples, each [B]: all exponentials are relative to the maximum."""

    maximum: Array
    weights: Array
    squares: Array
    mean: Array


def log_likelihood(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: int = 5000,
    labels: ArrayLike | None = None,
) -> np.ndarray:
    """Estimates log p(x) of each image, L_K of this module's equation.

    Args:
      learner: of a model with a density.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: consumed; every image and sample has its own, so that neither the number of images nor
        the memory at hand changes a result by more than rounding.
      num_samples: K.
      labels: [N], where the system is conditional.

    Returns:
      [N], nats.

    Raises:
      UserError: where the model has no log-likelihood, or the images cannot be used.
    """
    chunks = importance_chunks(learner, state, images, key, num_samples, labels)
    return np.concatenate([estimate.log_likelihood for estimate in chunks])


def importance_sampling(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: int = 5000,
    labels: ArrayLike | None = None,
    score: bool = False,
) -> ImportanceEstimate:
    """`log_likelihood` with the bound of one sample and the effective sample sizes.

    Warns where images have fewer than 10 effective samples.

    Args:
      learner: of a model with a density.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: as in `log_likelihood`, which gives the same numbers under it.
      num_samples: K.
      labels: [N], where the system is conditional.
      score: accept a model without a log-likelihood; what it gives then compares such models with
        each other and is not in nats of log-likelihood.

    Returns:
      The estimate for each image.

    Raises:
      UserError: where the model has no log-likelihood and `score` is not set, or the images cannot
        be used.
    """
    parts = importance_chunks(learner, state, images, key, num_samples, labels, score=score)
    estimate = ImportanceEstimate(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    if estimate.warning and num_samples >= FEW_EFFECTIVE_SAMPLES:
        warnings.warn(estimate.warning, stacklevel=2)
    return estimate


def importance_chunks(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    num_samples: int = 5000,
    labels: ArrayLike | None = None,
    *,
    start: int = 0,
    score: bool = False,
    images_at_once: int | None = None,
    samples_at_once: int | None = None,
) -> Iterator[ImportanceEstimate]:
    """`importance_sampling` a chunk of images at a time, from image `start` on.

    Long evaluations keep what is finished and continue there: estimates of an image do not depend
    on where one starts. `images_at_once` and `samples_at_once` bound the memory; by default decoded
    images stay in cache.
    """
    density = check_score(learner, score)
    _chunks.check_images(images, labels, num_samples)
    sizes = _chunks.chunk_sizes(learner.image_shape, len(np.asarray(images)), num_samples)
    images_at_once = images_at_once or sizes[0]
    samples_at_once = min(samples_at_once or sizes[1], num_samples)

    def estimates() -> Iterator[ImportanceEstimate]:
        for chunk in _chunks.image_chunks(images, labels, images_at_once, start):
            results = _estimate(
                density,
                samples_at_once,
                state,
                chunk.images,
                _chunks.given(chunk.labels),
                chunk.indices,
                key,
                num_samples,
            )
            yield ImportanceEstimate(*(np.asarray(x, np.float64)[: chunk.size] for x in results))

    return estimates()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _estimate(
    density: Density,
    samples_at_once: int,
    state: PyTree,
    images: Array,
    labels: Array | None,
    indices: Array,
    key: Array,
    num_samples: Array,
) -> tuple[Array, Array, Array]:
    """log_likelihood, elbo and effective sample size of one chunk of images, each [B]."""
    encoded = _weights.encoded(density, state, images, labels, indices, key)

    def add(step: Array, sums: _Sums) -> _Sums:
        positions = step * samples_at_once + jnp.arange(samples_at_once)
        log_weights = _weights.log_weights(density, state, encoded, positions)
        return _added(sums, log_weights, (positions < num_samples)[:, None], num_samples)

    nothing = jnp.zeros(len(images))
    sums = _Sums(jnp.full(len(images), -jnp.inf), nothing, nothing, nothing)
    num_steps = (num_samples + samples_at_once - 1) // samples_at_once
    sums = jax.lax.fori_loop(0, num_steps, add, sums)
    estimate = sums.maximum + jnp.log(sums.weights) - jnp.log(jnp.asarray(num_samples, jnp.float32))
    return estimate, sums.mean, sums.weights**2 / sums.squares


def _added(sums: _Sums, log_weights: Array, counted: Array, num_samples: Array) -> _Sums:
    """The sums with more samples: log_weights [K, B], of which the `counted` [K, 1] ones count."""
    log_weights = jnp.where(counted, log_weights, -jnp.inf)
    maximum = jnp.maximum(sums.maximum, log_weights.max(axis=0))
    # Before a finite weight has been seen, −inf − (−inf) would be NaN.
    reference = jnp.where(jnp.isfinite(maximum), maximum, 0)
    old, new = jnp.exp(sums.maximum - reference), jnp.exp(log_weights - reference[None])
    mean = jnp.where(counted, log_weights, 0).sum(axis=0) / num_samples
    return _Sums(
        maximum,
        sums.weights * old + new.sum(axis=0),
        sums.squares * old**2 + (new**2).sum(axis=0),
        sums.mean + mean,
    )
