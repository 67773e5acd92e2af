"""The plain descent: one model, one loss, one optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.errors import expect_at_least
from jaxgen.learners.batching import given, mean_over_images, scan_batches, take
from jaxgen.types import Array, Learner, Metrics, Model, PyTree


class MinimizeState(NamedTuple):
    """What the next step of `minimize` needs.

    Attributes:
      step: int32, the number of steps taken.
      params: the model's parameters.
      batch_stats: running averages of BatchNorm; empty where the model has none.
      optimizer_state: the optimizer's own.
    """

    step: Array
    params: PyTree
    batch_stats: PyTree
    optimizer_state: optax.OptState

    @property
    def variables(self) -> PyTree:
        """The model's variables, as linen's `apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def minimize(model: Model, optimizer: optax.GradientTransformation, *, batch_size: int) -> Learner:
    """Fits one model by descending its loss.

    Args:
      model: the mathematics.
      optimizer: an optax gradient transformation.
      batch_size: images a step of `epoch` sees. The last step of an epoch sees what is left, so
        that every image is seen once an epoch.

    Returns:
      A Learner. Its `step` takes any number of images.

    Raises:
      UserError: where batch_size is not positive or exceeds the number of images.
    """
    expect_at_least("batch_size", batch_size, 1)

    def init(key: Array) -> MinimizeState:
        variables = model.init(key)
        params = variables["params"]
        return MinimizeState(
            jnp.zeros((), jnp.int32),
            params,
            variables.get("batch_stats", {}),
            optimizer.init(params),
        )

    def step(
        state: MinimizeState, images: Array, key: Array, labels: Array | None = None
    ) -> tuple[MinimizeState, Metrics]:
        def loss(params: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            return model.loss(variables, images, key, state.step, *given(labels))

        grads, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return MinimizeState(state.step + 1, params, batch_stats, optimizer_state), metrics

    def epoch(
        state: MinimizeState, images: Array, key: Array, labels: Array | None = None
    ) -> tuple[MinimizeState, Metrics]:
        shuffle_key, steps_key = jax.random.split(key)
        order = jax.random.permutation(shuffle_key, len(images))

        def body(state: MinimizeState, index: Array, batch: Array) -> tuple[MinimizeState, Metrics]:
            step_key = jax.random.fold_in(steps_key, index)
            state, metrics = step(state, take(images, batch), step_key, take(labels, batch))
            return state, metrics | {"num_images": jnp.float32(len(batch))}

        return scan_batches(body, state, order, batch_size)

    def evaluate(
        state: MinimizeState, images: Array, key: Array, labels: Array | None = None
    ) -> Metrics:
        def of_batch(index: Array, batch: Array) -> Metrics:
            batch_key = jax.random.fold_in(key, index)
            return model.evaluate(
                state.variables,
                take(images, batch),
                batch_key,
                state.step,
                *given(take(labels, batch)),
            )

        return mean_over_images(of_batch, len(images), batch_size)

    def of_variables(function: Callable[..., Any] | None, **options: Any) -> Any:
        if function is None:
            return None

        def function_of_state(state: MinimizeState, *args: Any, labels: Array | None = None) -> Any:
            return function(state.variables, *args, *given(labels))

        return jax.jit(function_of_state, **options)

    return Learner(
        init=jax.jit(init),
        step=jax.jit(step, donate_argnums=0),
        epoch=jax.jit(epoch, donate_argnums=0),
        evaluate=jax.jit(evaluate),
        sample=of_variables(model.sample, static_argnums=1),
        decode=of_variables(model.decode),
        encode=of_variables(model.encode),
        reconstruct=of_variables(model.reconstruct),
    )
