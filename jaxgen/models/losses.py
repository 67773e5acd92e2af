"""Per-example losses: every function maps a batch to one number per image, [B], in nats."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen._checks import is_traced
from jaxgen.types import Array

LOG_VAR_BOUND = 30.0


def kl_standard_normal(mean: Array, log_var: Array) -> Array:
    """Kullback-Leibler divergence from a diagonal Gaussian to the standard normal.

    KL(N(mean, diag(exp(log_var))) ‖ N(0, I)) = ½ Σ_d (exp(log_var_d) + mean_d² − 1 − log_var_d)

    Args:
      mean: [B, D].
      log_var: [B, D], the logarithm of the variance.

    Returns:
      [B], nats, ≥ 0.

    References:
      Kingma and Welling, Auto-Encoding Variational Bayes, appendix B, arXiv:1312.6114.
    """
    return jnp.sum(kl_of_dimensions(mean, log_var), axis=-1)


def kl_of_dimensions(mean: Array, log_var: Array) -> Array:
    """What each latent dimension adds to `kl_standard_normal`: [B, D], nats, ≥ 0."""
    # expm1 keeps exp(v) − 1 accurate near v = 0, where q has become the prior.
    return 0.5 * (jnp.expm1(log_var) - log_var + mean**2)


def bounded_log_var(log_var: Array) -> Array:
    """The log-variance that a network gives, kept where its exponential is finite.

    v where |v| ≤ 30, else sign(v) (30 + log(1 + |v| − 30))

    Beyond 30 the variance (below −30 the precision) grows linearly in v instead of exponentially.
    Values within the bounds keep their bits, the function and its gradient are continuous, and the
    gradient is never zero. No trained model needs values beyond them: a standard deviation
    there exceeds 3 million or is below one in 3 million.
    """
    excess = jnp.maximum(jnp.abs(log_var) - LOG_VAR_BOUND, 0.0)
    beyond = jnp.sign(log_var) * (LOG_VAR_BOUND + jnp.log1p(excess))
    return jnp.where(excess > 0, beyond, log_var)


def with_free_bits(kl: Array, free_bits: ArrayLike) -> Array:
    """The sum of a KL over its dimensions, each of which costs at least `free_bits`.

    Σ_d max(free_bits, mean over the batch of KL_d)

    A dimension that carries less than `free_bits` nats on average over the batch pays a constant,
    so that nothing pushes it to carry still less: its gradient is zero.

    Args:
      kl: [B, D], nats.
      free_bits: nats for each dimension; 0 makes it the plain sum.

    Returns:
      [B], nats, whose mean over the batch is the formula's value: an image pays its own KL in the
      dimensions that exceed `free_bits`, and the constant in the others.

    References:
      Kingma et al., Improving Variational Inference with Inverse Autoregressive Flow,
      arXiv:1606.04934, equation 15; each dimension is a group of its own.
    """
    if not is_traced(free_bits) and not free_bits:
        return jnp.sum(kl, axis=-1)
    charged = kl.mean(axis=0, keepdims=True) > free_bits
    return jnp.sum(jnp.where(charged, kl, free_bits), axis=-1)


def log_normal(latents: Array, mean: Array | float, log_var: Array | float) -> Array:
    """Log-density of a diagonal Gaussian, up to the constant −D/2 log(2π): [..., D] -> [..., D].

    log N(z_d; mean_d, exp(log_var_d)) = −½ ((z_d − mean_d)² exp(−log_var_d) + log_var_d)

    Every use here is a difference of two densities of one D, from which the constant drops out.
    """
    return -0.5 * ((latents - mean) ** 2 * jnp.exp(-log_var) + log_var)


def gaussian_log_density(latents: Array, mean: Array | float, log_var: Array | float) -> Array:
    """Log-density of a diagonal Gaussian in nats, constants included: [..., D] -> [...]."""
    constant = 0.5 * math.log(2 * math.pi) * latents.shape[-1]
    return jnp.sum(log_normal(latents, mean, log_var), axis=-1) - constant


def importance_weighted_bound(log_weights: Array) -> Array:
    """The importance-weighted lower bound on log p(x): log of the mean weight, [K, B] -> [B].

    L_K = log 1/K Σ_k w_k,   log_weights_k = log w_k = log p(x, z_k) − log q(z_k|x),   z_k ~ q(z|x)

    E[L_1] = ELBO ≤ E[L_2] ≤ … ≤ log p(x) (Burda et al., arXiv:1509.00519, theorem 1).
    """
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))
