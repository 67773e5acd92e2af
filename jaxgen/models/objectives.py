"""The objectives of VAEs.

    loss         = −E_q[log p(x|z)] + weight(step) · KL(q(z|x) ‖ p(z))
    weight(step) = beta · schedule(step)

and its variants.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import optax
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen._checks import is_traced
from jaxgen.errors import UserError
from jaxgen.models import schedules

KLSchedule = Literal["constant", "linear", "cyclical"] | optax.Schedule
Bound = Literal["elbo", "iwae", "dreg"]
KLWeight = Callable[[ArrayLike], ArrayLike]


class Objective(NamedTuple):
    """What a VAE minimizes.

    Attributes:
      beta: weight of the KL term in the loss (beta-VAE, Higgins et al., ICLR 2017); the metrics
        elbo, kl and reconstruction do not contain it.
      kl_schedule: factor of beta over the steps: constant (1), linear (from 0 to 1 in
        kl_schedule_steps, then 1), or cyclical (in each cycle a linear rise and a plateau of
        equal length; arXiv:1903.10145). From Python also any function of the step, such as an
        optax schedule.
      kl_schedule_steps: steps of the linear rise, or of one cycle.
      free_bits: nats per latent dimension; a mean KL over the batch below this adds only this
        constant to the loss (arXiv:1606.04934, equation 15).
      num_samples: latents drawn from q(z|x) for each image.
      bound: elbo, iwae (the importance-weighted bound over num_samples, arXiv:1509.00519), or
        dreg (the same bound with doubly reparameterized gradients, arXiv:1810.04152).
      average_images: compare each image with the mean of its num_samples decoded images, rather
        than with each of them; this is not a bound on the likelihood.
    """

    beta: ArrayLike = 1.0
    kl_schedule: KLSchedule = "constant"
    kl_schedule_steps: int = 2000
    free_bits: ArrayLike = 0.0
    num_samples: int = 1
    bound: Bound = "elbo"
    average_images: bool = False


def checked(objective: Objective) -> Objective:
    """The objective, with whole numbers as ints.

    Raises:
      UserError: if a field is out of range, or two of them exclude each other.
    """
    _checks.at_least("beta", objective.beta, 0)
    _checks.at_least("kl_schedule_steps", objective.kl_schedule_steps, 1)
    _checks.at_least("free_bits", objective.free_bits, 0)
    num_samples = _checks.whole_number("num_samples", objective.num_samples)
    _checks.one_of("bound", objective.bound, get_args(Bound))
    free_bits = is_traced(objective.free_bits) or objective.free_bits
    if objective.bound != "elbo" and (free_bits or objective.average_images):
        name = "free_bits" if free_bits else "average_images"
        raise UserError(
            f"expected bound elbo beside {name}, got {objective.bound}: an importance-weighted "
            f"bound has no separate terms, leave {name} out"
        )
    return objective._replace(num_samples=num_samples)


def kl_weight(objective: Objective) -> KLWeight:
    """The weight of the KL term: step -> beta · schedule(step).

    Raises:
      UserError: if the objective names no schedule.
    """
    named: dict[str, Callable[[int], optax.Schedule]] = {
        "constant": lambda steps: lambda step: 1.0,
        "linear": lambda steps: optax.linear_schedule(0.0, 1.0, steps),
        "cyclical": schedules.cyclical,
    }
    schedule = objective.kl_schedule
    if isinstance(schedule, str):
        if schedule not in named:
            raise UserError(
                f"expected kl_schedule {', '.join(named)} or a function of the step, "
                f"got {schedule!r}: pick one"
            )
        schedule = named[schedule](objective.kl_schedule_steps)
    of_step = schedule
    return lambda step: objective.beta * of_step(step)  # pyright: ignore[reportReturnType]
