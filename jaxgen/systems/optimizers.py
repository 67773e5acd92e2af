"""The optimizers of the published systems, with their constants."""

from typing import Any

import optax

from jaxgen import _checks
from jaxgen.errors import UserError


def adam(
    learning_rate: Any, *, factor: optax.Schedule | None = None, eps: float | None = None
) -> optax.GradientTransformation:
    """Adam with the constants of its paper (arXiv:1412.6980), which are PyTorch's too.

    Args:
      learning_rate: step size; a number, which may be traced, or a function of the step.
      factor: step -> factor of the learning rate; None for 1.
      eps: added to the denominator; None for the paper's 1e-8.

    Raises:
      UserError: if the learning rate is not a positive number.
    """
    check_learning_rate(learning_rate)
    options: dict[str, Any] = {} if eps is None else {"eps": eps}
    if factor is None:
        return optax.adam(learning_rate, **options)
    rate: Any = learning_rate if callable(learning_rate) else lambda step: learning_rate
    return optax.adam(lambda step: rate(step) * factor(step), **options)


def adversarial_adam(
    learning_rate: Any, b1: float, b2: float = 0.999
) -> optax.GradientTransformation:
    """Adam with less momentum, b1 below 0.9, as is usual in adversarial training.

    Raises:
      UserError: if the learning rate is not a positive number, or b1 or b2 not in [0, 1).
    """
    check_learning_rate(learning_rate)
    for name, value in (("b1", b1), ("b2", b2)):
        if not _checks.is_traced(value) and not 0 <= value < 1:
            raise UserError(f"expected {name} to be at least 0 and below 1, got {value}")
    return optax.adam(learning_rate, b1, b2)


def rmsprop(learning_rate: Any) -> optax.GradientTransformation:
    """RMSprop with PyTorch's constants, which are not optax's: decay 0.99, eps outside the root.

    Raises:
      UserError: if the learning rate is not a positive number.
    """
    check_learning_rate(learning_rate)
    return optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)


def check_learning_rate(learning_rate: Any) -> None:
    """Raises UserError unless it is a positive number or a function of the step."""
    if not callable(learning_rate):
        _checks.positive("learning_rate", learning_rate)
