"""Schedules that optax does not have: functions of the number of steps taken, traceable."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.types import Array

RISING_SHARE = 0.5  # of a cycle; what Fu et al. use throughout


def cyclical(steps: int, rising_share: float = RISING_SHARE) -> optax.Schedule:
    """Cycles from 0 to 1: in each a linear rise, then a plateau.

    value(t) = min(1, (t mod steps) / (rising_share · steps))

    Args:
      steps: length of a cycle.
      rising_share: share of a cycle in which the value rises; it is 1 in the rest.

    Returns:
      step -> value in [0, 1].

    Raises:
      UserError: where steps is below 1.

    References:
      Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing,
      arXiv:1903.10145.
    """
    _checks.at_least("the steps of a cycle", steps, 1)

    def schedule(step: ArrayLike) -> Array:
        return jnp.minimum(1.0, jnp.mod(step, steps) / (rising_share * steps))

    return schedule
