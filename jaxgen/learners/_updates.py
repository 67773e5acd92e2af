"""One update of parameters by an optimizer."""

from collections.abc import Callable

import jax
import optax

from jaxgen.types import Array, PyTree


def updated(
    optimizer: optax.GradientTransformationExtraArgs,
    params: PyTree,
    optimizer_state: optax.OptState,
    value: Array,
    grads: PyTree,
    value_fn: Callable[[PyTree], Array],
) -> tuple[PyTree, optax.OptState]:
    """The parameters and the optimizer's state after one update.

    Args:
      optimizer: as `transforms.with_extra_arguments` gives it.
      params: of the model.
      optimizer_state: of the optimizer.
      value: the loss.
      grads: of the loss.
      value_fn: parameters -> loss, for optimizers with a line search.
    """
    # Adam itself needs the standard promotion: it raises a float to an integer power.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = optimizer.update(
            grads, optimizer_state, params, value=value, grad=grads, value_fn=value_fn
        )
        return optax.apply_updates(params, updates), optimizer_state
