"""log p(x) by annealed importance sampling: without the encoder, and bounded from both sides.

    log f_t(z) = (1 − β_t) log N(z; 0, I) + β_t log p(x, z),   0 = β_0 < … < β_T = 1
    log w = Σ_t (β_t − β_{t−1}) (log p(x, z_{t−1}) − log N(z_{t−1}; 0, I))

z_0 ~ N(0, I), and z_t follows from z_{t−1} by a transition of Hamiltonian Monte Carlo that leaves
f_t invariant. Then E[w] = p(x), so that log of the mean weight is a lower bound in expectation
(Neal, 2001; Wu et al., arXiv:1611.04273). From an exact sample of p(z|x) the same chain, run
backwards, gives E[1/w] = 1/p(x) and an upper bound (bidirectional Monte Carlo, Grosse et al.,
arXiv:1511.02543). Exact posterior samples are known for simulated data alone: z ~ p(z),
x ~ p(x|z).

Transitions must not learn from the chains that they move, or E[w] = p(x) is lost. Step sizes are
therefore adapted on chains of a pilot run, and fixed in the run that counts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation import _chunks
from jaxgen.evaluation._annealed_chains import Lengths, backward, forward
from jaxgen.evaluation._density import normalized_density_of
from jaxgen.types import Array, Learner, PyTree


class AnnealedEstimate(NamedTuple):
    """One chunk of results, float64 [N] each.

    Attributes:
      lower: lower bound of log p(x) in expectation, nats.
      acceptance: mean probability of acceptance over chains and temperatures; near 0.65 where the
        adaptation has worked.
    """

    lower: np.ndarray
    acceptance: np.ndarray


class BidirectionalEstimate(NamedTuple):
    """Bounds of log p(x) of simulated images, in expectation, float64 [N] each.

    Attributes:
      lower: by annealing forwards from N(0, I), nats.
      upper: by annealing backwards from the latents that made the image, nats.
      images: the simulated observations, [N, H, W, C].
    """

    lower: np.ndarray
    upper: np.ndarray
    images: np.ndarray


def annealed_importance_sampling(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog: int = 10,
    labels: ArrayLike | None = None,
) -> AnnealedEstimate:
    """Estimates log p(x) from below without using the encoder.

    Its time is 2 · num_chains · num_temperatures · num_leapfrog decodings with gradients for each
    image: use some hundred images.

    Args:
      learner: of a model with a log-likelihood.
      state: its state.
      images: [N, H, W, C], uint8 or floats in [0, 1].
      key: consumed.
      num_chains: for each image; their weights are averaged.
      num_temperatures: T; the bound tends to log p(x) as it grows.
      num_leapfrog: steps of one transition.
      labels: [N], where the system is conditional.

    Returns:
      The lower bounds.

    Raises:
      UserError: where the model has no log-likelihood.
    """
    density = normalized_density_of(learner)
    _chunks.check_images(images, labels, num_chains)
    _check_lengths(num_temperatures, num_leapfrog)
    size, _ = _chunks.chunk_sizes(learner.image_shape, len(np.asarray(images)), num_chains)
    observe_key, anneal_key = jax.random.split(key)
    parts = []
    for chunk in _chunks.image_chunks(images, labels, size):
        indices = jnp.asarray(chunk.indices)
        observe_keys = _chunks.keys_of(observe_key, indices)
        observations = _chunks.observe(density, jnp.asarray(chunk.images), observe_keys)
        found = forward(
            density,
            Lengths(num_chains, num_temperatures, num_leapfrog),
            state,
            observations,
            _chunks.given(chunk.labels),
            _chunks.keys_of(anneal_key, indices),
        )[:2]
        parts.append([np.asarray(x, np.float64)[: chunk.size] for x in found])
    return AnnealedEstimate(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def bidirectional(
    learner: Learner,
    state: PyTree,
    num_images: int,
    key: Array,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog: int = 10,
    labels: ArrayLike | None = None,
) -> BidirectionalEstimate:
    """Bounds log p(x) of images that the model itself has made, from both sides.

    Where the two means are close, annealing has converged for this decoder with these settings,
    and its lower bound on real images can be trusted about as far.

    Args:
      learner: of a model with a log-likelihood.
      state: its state.
      num_images: N, all held at once.
      key: consumed.
      num_chains: for each image and direction.
      num_temperatures: T.
      num_leapfrog: steps of one transition.
      labels: [N], where the system is conditional.

    Returns:
      Both bounds and the images.

    Raises:
      UserError: where the model has no log-likelihood.
    """
    density = normalized_density_of(learner)
    _check_lengths(num_temperatures, num_leapfrog)
    prior_key, simulate_key, forward_key, backward_key = jax.random.split(key, 4)
    given = None if labels is None else jnp.asarray(labels, jnp.int32)
    latents = density.sample_prior(state, num_images, prior_key, labels=given)
    observations = density.simulate(state, latents, simulate_key, labels=given)
    lengths = Lengths(num_chains, num_temperatures, num_leapfrog)
    forward_keys, backward_keys = (
        jax.random.split(key, num_images) for key in (forward_key, backward_key)
    )
    lower, _, step_sizes = forward(density, lengths, state, observations, given, forward_keys)
    upper = backward(
        density, lengths, state, observations, given, latents, step_sizes, backward_keys
    )
    return BidirectionalEstimate(
        np.asarray(lower, np.float64), np.asarray(upper, np.float64), np.asarray(observations)
    )


def _check_lengths(num_temperatures: int, num_leapfrog: int) -> None:
    if min(num_temperatures, num_leapfrog) < 1:
        raise UserError(
            "expected num_temperatures and num_leapfrog to be at least 1, got "
            f"{num_temperatures} and {num_leapfrog}"
        )
