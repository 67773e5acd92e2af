"""What a VAE minimises, as keywords that every VAE system takes.

    loss         = −E_q[log p(x|z)] + weight(step) · KL(q(z|x) ‖ p(z))
    weight(step) = beta · schedule(step)

and its variants. The keywords are written down once, in `Objective`; `takes_objective` gives them,
with their explanations, to a system's signature and docstring, and so to its command line.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack, cast, get_args

import optax
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.models import schedules
from jaxgen.types import Learner

KLSchedule = Literal["constant", "linear", "cyclical"] | optax.Schedule
Bound = Literal["elbo", "iwae", "dreg"]
System = TypeVar("System", bound=Callable[..., Learner])


class Objective(NamedTuple):
    """What a VAE minimises.

    Attributes:
      beta: weight of the KL term in the loss (beta-VAE, Higgins et al., ICLR 2017); the metrics
        elbo, kl and reconstruction never carry it.
      kl_schedule: what the weight of the KL term is multiplied with over the steps: constant (1),
        linear (from 0 to 1 in kl_schedule_steps, then 1), or cyclical (again and again, each
        cycle half a linear rise and half a plateau; arXiv:1903.10145). From Python also any
        function of the step, such as an optax schedule.
      kl_schedule_steps: steps of the linear rise, or of one cycle.
      free_bits: nats that the mean KL of each latent dimension over a batch is free of charge up
        to (arXiv:1606.04934, equation 15).
      num_samples: latents drawn from q(z|x) for each image.
      bound: elbo, iwae (the importance-weighted bound over num_samples, arXiv:1509.00519), or
        dreg (the same bound with doubly reparameterised gradients, arXiv:1810.04152).
      average_images: compare with an image the mean of its num_samples decoded images, rather
        than each of them; no longer a bound on the likelihood.
    """

    beta: float = 1.0
    kl_schedule: KLSchedule = "constant"
    kl_schedule_steps: int = 2000
    free_bits: float = 0.0
    num_samples: int = 1
    bound: Bound = "elbo"
    average_images: bool = False


class ObjectiveKeywords(TypedDict, total=False):
    """The fields of `Objective`, as a type checker wants keywords."""

    beta: float
    kl_schedule: KLSchedule
    kl_schedule_steps: int
    free_bits: float
    num_samples: int
    bound: Bound
    average_images: bool


def check(objective: Objective) -> None:
    """Raises UserError where a field is out of range, or two of them exclude each other."""
    _checks.at_least("beta", objective.beta, 0)
    _checks.at_least("kl_schedule_steps", objective.kl_schedule_steps, 1)
    _checks.at_least("free_bits", objective.free_bits, 0)
    _checks.at_least("num_samples", objective.num_samples, 1)
    _checks.one_of("bound", objective.bound, get_args(Bound))
    if objective.bound != "elbo" and (objective.free_bits or objective.average_images):
        name = "free_bits" if objective.free_bits else "average_images"
        raise UserError(
            f"expected bound elbo beside {name}, got {objective.bound}: an importance-weighted "
            f"bound has no separate terms, leave {name} out"
        )


def kl_weight(objective: Objective) -> Callable[[ArrayLike], ArrayLike]:
    """The weight of the KL term: step -> beta · schedule(step).

    Raises:
      UserError: where the objective names no schedule.
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


def takes_objective(**defaults: Unpack[ObjectiveKeywords]) -> Callable[[System], System]:
    """Makes the `**objective` of a system visible, explained and defaulted.

    The decorated function collects the keywords of `ObjectiveKeywords` in `**objective`. Its
    signature then names each of them and its docstring explains them under `Args`, which has to
    be the docstring's last section.

    Args:
      **defaults: where the system's defaults are not those of `Objective`.
    """
    fields = Objective(**defaults)._asdict()
    explained = inspect.cleandoc(Objective.__doc__ or "").partition("Attributes:\n")[2]

    def decorate(system: System) -> System:
        signature = inspect.signature(system)
        *own, collected = signature.parameters.values()
        if collected.kind is not inspect.Parameter.VAR_KEYWORD:
            raise TypeError(f"{system.__name__} collects no **objective")
        objective = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=Objective.__annotations__[name],
            )
            for name, default in fields.items()
        ]

        signature = signature.replace(parameters=[*own, *objective])

        @functools.wraps(system)
        def with_defaults(**keywords: Any) -> Learner:
            signature.bind(**keywords)  # a misspelt keyword is not one of the objective's
            return system(**defaults | keywords)

        with_defaults.__dict__["__signature__"] = signature
        with_defaults.__doc__ = f"{inspect.cleandoc(system.__doc__ or '')}\n{explained}"
        return cast(System, with_defaults)

    return decorate
