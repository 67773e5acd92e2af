"""Schedules that optax does not have: functions of the number of steps taken, traceable."""

import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.types import Array

RISING_SHARE = 0.5  # of a cycle; what Fu et al. use throughout


def cyclical(steps: int, rising_share: float = RISING_SHARE) -> optax.Schedule:
    """From 0 to 1 again and again, each cycle a linear rise and then a plateau.

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


def burda(num_steps: int) -> optax.Schedule:
    """The learning rate's falling factor of the importance-weighted autoencoder's paper.

    value = 10^(−i/7) in stage i = 0, …, 7, which lasts 3^i / 3280 of all the steps

    The paper's stages last 3^i epochs, 3280 in all. Beyond `num_steps` the last value stays.

    Args:
      num_steps: steps in all.

    Returns:
      step -> value in [0.1, 1].

    Raises:
      UserError: where num_steps is below 1.

    References:
      Burda et al., Importance Weighted Autoencoders, arXiv:1509.00519, section 5.
    """
    _checks.at_least("num_steps", num_steps, 1)
    lasting = 3.0 ** np.arange(8)
    ends = np.cumsum(lasting)[:-1] / lasting.sum() * num_steps

    def schedule(step: ArrayLike) -> Array:
        stage = jnp.sum(jnp.asarray(step) >= ends)
        return 10.0 ** (-stage / 7)

    return schedule
