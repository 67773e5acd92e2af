"""Hamiltonian Monte Carlo: one transition that leaves a density invariant."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array

TARGET_ACCEPTANCE = 0.65  # Beskos et al., arXiv:1001.4460, in many dimensions
ADAPTATION = 1.05  # factor on a step size after a transition


class Transition(NamedTuple):
    """What one transition gives.

    Attributes:
      position: [..., D].
      acceptance: probability of acceptance of each chain, [...].
    """

    position: Array
    acceptance: Array


def transition(
    log_density: Callable[[Array], Array],
    position: Array,
    step_size: Array,
    keys: Array,
    num_leapfrog: int,
) -> Transition:
    """One step of Hamiltonian Monte Carlo for many chains at once.

    Momentum p ~ N(0, I) and the position follow H = −log_density(z) + ½ ‖p‖² for `num_leapfrog`
    leapfrog steps; the end is accepted with probability min(1, exp(−ΔH)).

    Args:
      log_density: [..., D] -> [...], up to a constant; each chain's depends on itself alone.
      position: [..., N, D].
      step_size: of the leapfrog steps, [..., N].
      keys: [N], consumed. What happens to position[..., n, :] depends on keys[n] alone.
      num_leapfrog: steps.

    References:
      Neal, MCMC using Hamiltonian dynamics, arXiv:1206.1901.
    """
    momentum_keys, accept_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    start = normal(momentum_keys, position.shape)
    step = step_size[..., None]

    def value_and_gradient(z: Array) -> tuple[Array, Array]:
        value, pullback = jax.vjp(log_density, z)
        return value, pullback(jnp.ones_like(value))[0]

    def leapfrog(_: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        z, momentum, gradient, _ = carry
        momentum = momentum + 0.5 * step * gradient
        z = z + step * momentum
        value, gradient = value_and_gradient(z)
        return z, momentum + 0.5 * step * gradient, gradient, value

    value, gradient = value_and_gradient(position)
    carry = (position, start, gradient, value)
    end, momentum, _, end_value = jax.lax.fori_loop(0, num_leapfrog, leapfrog, carry)
    energy_change = (end_value - value) - 0.5 * ((momentum**2).sum(-1) - (start**2).sum(-1))
    # A trajectory that diverges has NaN energy: it is never accepted.
    acceptance = jnp.nan_to_num(jnp.exp(jnp.minimum(energy_change, 0)), nan=0.0)
    chains = acceptance.shape[:-1]
    draw = jax.vmap(lambda key: jax.random.uniform(key, chains), out_axes=-1)(accept_keys)
    accepted = draw < acceptance
    return Transition(jnp.where(accepted[..., None], end, position), acceptance)


def normal(keys: Array, shape: tuple[int, ...]) -> Array:
    """N(0, I) of shape [..., N, D], each [..., n, :] drawn under keys[n]."""
    *chains, _, size = shape
    return jax.vmap(lambda key: jax.random.normal(key, (*chains, size)), out_axes=-2)(keys)


def adapted(step_size: Array, acceptance: Array) -> Array:
    """A larger step size where more is accepted than the target, a smaller one elsewhere."""
    return jnp.where(acceptance > TARGET_ACCEPTANCE, step_size * ADAPTATION, step_size / ADAPTATION)
