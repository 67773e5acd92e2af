"""Gradients of the importance-weighted bound: plain, and doubly reparameterised.

    L_K = log 1/K Σ_k w_k,   w_k = p(x, z_k) / q(z_k|x),   w̃_k = w_k / Σ_j w_j

The plain gradient (Burda et al., arXiv:1509.00519) is Σ_k w̃_k ∇ log w_k. For the parameters φ of
q it is a sum of two: one through z_k, and one through the density q itself, whose mean can be
written through z_k as well (Tucker et al., arXiv:1810.04152):

    ∇_φ L_K = E[Σ_k w̃_k² ∂ log w_k/∂z_k · ∂z_k/∂φ]

The mean stays, the variance falls, and more samples no longer drown the encoder's gradient in
noise.
"""

import jax
import jax.numpy as jnp

from jaxgen.models.losses import importance_weighted_bound
from jaxgen.types import Array, PyTree


@jax.custom_vjp
def reparameterised_again(latents: PyTree) -> tuple[PyTree, Array]:
    """The latents for `dreg_bound`: unchanged, their gradient in each sample multiplied by w̃.

    log w has to be computed from what this gives, and from q's parameters under
    `jax.lax.stop_gradient` wherever else they enter.

    Args:
      latents: arrays [K, B, D].

    Returns:
      The latents, and a token, [K, B]: its value means nothing. What comes back along it as its
      gradient is w̃, which is not known before the latents have been decoded.
    """
    first = jax.tree.leaves(latents)[0]
    return latents, jnp.zeros(first.shape[:-1], first.dtype)


def bound(log_weights: Array, token: Array | None) -> Array:
    """The importance-weighted bound, [K, B] -> [B]: `dreg_bound` where there is a token."""
    if token is None:
        return importance_weighted_bound(log_weights)
    return dreg_bound(log_weights, token)


@jax.custom_vjp
def dreg_bound(log_weights: Array, token: Array) -> Array:
    """The importance-weighted bound, [K, B] -> [B], with doubly reparameterised gradients.

    Args:
      log_weights: log w, [K, B].
      token: what `reparameterised_again` gave beside the latents.
    """
    return importance_weighted_bound(log_weights)


def _bound_forward(log_weights: Array, token: Array) -> tuple[Array, Array]:
    return importance_weighted_bound(log_weights), jax.nn.softmax(log_weights, axis=0)


def _bound_backward(shares: Array, by_bound: Array) -> tuple[Array, Array]:
    return shares * by_bound[None], shares


def _latents_backward(_: None, cotangents: tuple[PyTree, Array]) -> tuple[PyTree]:
    by_latents, shares = cotangents
    return (jax.tree.map(lambda x: x * shares[..., None], by_latents),)


dreg_bound.defvjp(_bound_forward, _bound_backward)
reparameterised_again.defvjp(
    lambda latents: (reparameterised_again(latents), None), _latents_backward
)
