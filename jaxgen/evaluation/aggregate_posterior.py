"""The aggregate posterior q(z) = 1/N Σ_n q(z|x_n), and how the KL term divides along it.

    E_x KL(q(z|x) ‖ p(z)) =   I(x; z)                    index-code mutual information
                            + KL(q(z) ‖ Π_d q(z_d))      total correlation
                            + Σ_d KL(q(z_d) ‖ p(z_d))    dimension-wise KL

q(z) is the mixture over all the images that are given, so that nothing here is estimated from
minibatches: the expectations over z alone are means of samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.types import Array

BYTES_AT_ONCE = 32 * 2**20  # of densities, one for each row, image and dimension


class KLSplit(NamedTuple):
    """In nats per image.

    Attributes:
      mutual_information: I(x; z) under the uniform distribution over the images, at most log N.
      total_correlation: how far the dimensions of q(z) are from independent.
      dimension_wise_kl: each dimension's KL(q(z_d) ‖ p(z_d)), [D].
      kl: the mean KL(q(z|x) ‖ p(z)) in closed form; the three parts add up to it, but for noise.
    """

    mutual_information: float
    total_correlation: float
    dimension_wise_kl: np.ndarray
    kl: float


def kl_split(
    mean: ArrayLike, log_var: ArrayLike, key: Array, num_samples: int | None = None
) -> KLSplit:
    """Splits the KL term of a data set by its aggregate posterior.

    Its time grows with N · num_samples · D, its memory with N · D.

    Args:
      mean: of q(z|x), [N, D], as `posteriors` gives it.
      log_var: the same.
      key: consumed by the samples of z.
      num_samples: of q(z), from as many images; None takes one of each image.

    Returns:
      The three parts, and what they add up to.

    References:
      Chen et al., arXiv:1802.04942; Hoffman and Johnson, ELBO surgery, 2016.
    """
    mean, log_var = (jnp.asarray(x, jnp.float32) for x in (mean, log_var))
    order_key, noise_key = jax.random.split(key)
    chosen = jax.random.permutation(order_key, len(mean))[:num_samples]
    noise = jax.random.normal(noise_key, (len(chosen), mean.shape[1]))
    latents = mean[chosen] + jnp.exp(log_var[chosen] / 2) * noise
    log_q_given_x = _log_normal(latents, mean[chosen], log_var[chosen]).sum(axis=1)
    log_p = _log_normal(latents, jnp.zeros_like(latents), jnp.zeros_like(latents))
    log_q, log_q_of_dimensions = _log_mixture(latents, mean, log_var)
    kl = 0.5 * (jnp.expm1(log_var) - log_var + mean**2).sum(axis=1).mean()
    return KLSplit(
        mutual_information=_mean(log_q_given_x - log_q),
        total_correlation=_mean(log_q - log_q_of_dimensions.sum(axis=1)),
        dimension_wise_kl=np.asarray(log_q_of_dimensions - log_p, np.float64).mean(axis=0),
        kl=float(kl),
    )


@jax.jit
def _log_mixture(latents: Array, mean: Array, log_var: Array) -> tuple[Array, Array]:
    """log q(z) and log q(z_d) of the mixture, [S] and [S, D], a few rows of z at a time."""
    at_once = min(len(latents), max(1, BYTES_AT_ONCE // (4 * mean.size)))
    num_rows = -(-len(latents) // at_once) * at_once
    padded = jnp.resize(latents, (num_rows, latents.shape[1]))

    def of_rows(rows: Array) -> tuple[Array, Array]:
        log_prob = _log_normal(rows[:, None], mean[None], log_var[None])  # [rows, N, D]
        return (
            jax.nn.logsumexp(log_prob.sum(axis=-1), axis=1),
            jax.nn.logsumexp(log_prob, axis=1),
        )

    whole, each = jax.lax.map(of_rows, padded.reshape(-1, at_once, latents.shape[1]))
    offset = jnp.log(jnp.float32(len(mean)))
    flat = whole.reshape(-1), each.reshape(-1, latents.shape[1])
    return flat[0][: len(latents)] - offset, flat[1][: len(latents)] - offset


def _log_normal(x: Array, mean: Array, log_var: Array) -> Array:
    return -0.5 * ((x - mean) ** 2 * jnp.exp(-log_var) + log_var + jnp.log(2 * jnp.pi))


def _mean(values: Array) -> float:
    return float(np.asarray(values, np.float64).mean())
