"""Gradients of the importance-weighted bound: plain, and doubly reparameterized.

    L_K = log 1/K Σ_k w_k,   w_k = p(x, z_k) / q(z_k|x),   w̃_k = w_k / Σ_j w_j

The plain gradient (Burda et al., arXiv:1509.00519) is Σ_k w̃_k ∇ log w_k. For the parameters φ of
q it is a sum of two: one through z_k, and one through the density q itself, whose mean can be
written through z_k as well (Tucker et al., arXiv:1810.04152):

    ∇_φ L_K = E[Σ_k w̃_k² ∂ log w_k/∂z_k · ∂z_k/∂φ]

Its mean is the same, its variance smaller, and the signal of the encoder's gradient does not vanish
as K grows.
"""

import jax
import jax.numpy as jnp

from jaxgen.models.losses import importance_weighted_bound
from jaxgen.types import Array, Density, Inputs, Labels, PyTree


def log_weights(
    density: Density,
    variables: PyTree,
    /,
    images: Inputs,
    key: Array,
    num_samples: int,
    *,
    labels: Labels = None,
) -> Array:
    """log w = log p(x, z) − log q(z|x) for z ~ q(z|x): [K, B], nats.

    Their mean over K estimates the ELBO, and log mean exp, `losses.importance_weighted_bound`, a
    tighter bound on log p(x).

    Args:
      density: of the model.
      variables: of the model.
      images: [B, H, W, C]; binarized under the key where the model does so.
      key: of the binarization and the samples.
      num_samples: K.
      labels: [B] where the model is conditional.
    """
    observe_key, samples_key = jax.random.split(key)
    observations = density.observe(images, observe_key)
    posterior = density.posterior(variables, observations, labels=labels)
    latents, log_q = density.sample_posterior(
        variables, posterior, samples_key, num_samples, labels=labels
    )
    return density.log_joint(variables, observations, latents, labels=labels) - log_q


@jax.custom_vjp
def reparameterized_again(latents: PyTree) -> tuple[PyTree, Array]:
    """The latents for `dreg_bound`: unchanged, their gradient in each sample multiplied by w̃.

    log w has to be computed from what this gives, and from q's parameters under
    `jax.lax.stop_gradient` wherever else they enter.

    Args:
      latents: arrays [K, B, D].

    Returns:
      The latents, and a token, [K, B], of zeros. `dreg_bound` sends w̃ back as the gradient of the
      token, as w̃ is not known before the latents have been decoded.
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
    """The importance-weighted bound, [K, B] -> [B], with doubly reparameterized gradients.

    Args:
      log_weights: log w, [K, B].
      token: what `reparameterized_again` gave beside the latents.
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
reparameterized_again.defvjp(
    lambda latents: (reparameterized_again(latents), None), _latents_backward
)
