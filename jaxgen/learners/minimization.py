"""Minimizing one loss by one optimizer."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen import _checks
from jaxgen.learners._arguments import (
    ExpectedState,
    OptionsOf,
    compiled,
    compiled_init,
    no_options,
)
from jaxgen.learners._nonfinite import counted_images, skipping_nonfinite
from jaxgen.learners._of_variables import functions_of_state
from jaxgen.learners._updates import updated
from jaxgen.learners.batching import (
    mean_over_images,
    scan_batches,
    scan_some_batches,
    take,
    with_labels,
)
from jaxgen.learners.data_parallelism import divided
from jaxgen.transforms import with_extra_arguments
from jaxgen.types import Array, Learner, Metrics, Model, PyTree


class MinimizeState(NamedTuple):
    """What the next step of `minimize` needs.

    Attributes:
      step: int32, the number of steps taken.
      params: the model's parameters.
      collections: the other collections of the model's variables, by name: "batch_stats" with
        BatchNorm or spectral normalization; {} without any.
      optimizer_state: the optimizer's own.
    """

    step: Array
    params: PyTree
    collections: dict[str, PyTree]
    optimizer_state: optax.OptState

    @property
    def variables(self) -> PyTree:
        """The model's variables, as linen's `apply` takes them."""
        return {"params": self.params, **self.collections}


def minimize(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: int,
    options_of: OptionsOf = no_options,
) -> Learner:
    """Fits one model by descending its loss.

    Args:
      model: the mathematics.
      optimizer: an optax gradient transformation. It is given value, grad and value_fn, which
        `optax.lbfgs` and `optax.contrib.reduce_on_plateau` need.
      batch_size: images in a step of `epoch`. The last step of an epoch takes the images that are
        left, so that each is used once.
      options_of: () -> XLA's compiler options for step, epoch and evaluate where they are called
        from Python on one device; asked for at their first call.

    Returns:
      A Learner. Its `step` takes any number of images.

    Raises:
      UserError: if batch_size is not positive or exceeds the number of images.
    """
    batch_size = _checks.whole_number("batch_size", batch_size)
    optimizer = with_extra_arguments(optimizer)
    one_step = partial(_step, model, optimizer)
    return _learner(model, optimizer, batch_size, one_step, options_of)


def _learner(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    batch_size: int,
    one_step: Callable[..., tuple[MinimizeState, Metrics]],
    options_of: OptionsOf,
) -> Learner:
    init = partial(_init, model, optimizer)
    expected = ExpectedState(MinimizeState, init)

    def step(
        state: MinimizeState, images: Array, key: Array, *, labels: Array | None = None
    ) -> tuple[MinimizeState, Metrics]:
        return one_step(state, images, key, labels)

    def epoch(
        state: MinimizeState,
        images: Array,
        key: Array,
        *,
        labels: Array | None = None,
        start: Array | int = 0,
        stop: Array | int | None = None,
    ) -> tuple[MinimizeState, Metrics]:
        return _epoch(one_step, batch_size, state, images, key, labels, start, stop)

    def evaluate(
        state: MinimizeState, images: Array, key: Array, *, labels: Array | None = None
    ) -> Metrics:
        return _evaluate(model, batch_size, state, images, key, labels)

    return Learner(
        init=compiled_init(init),
        step=compiled(step, model, expected, options_of),
        epoch=compiled(epoch, model, expected, options_of),
        evaluate=compiled(evaluate, model, expected, options_of),
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        num_classes=model.num_classes,
        images_per_step=batch_size,
        batch_size=batch_size,
        skipping_nonfinite=lambda: _learner(
            model, optimizer, batch_size, skipping_nonfinite(one_step), options_of
        ),
        **functions_of_state(model, expected, lambda state: state.variables),
    )


def _init(
    model: Model, optimizer: optax.GradientTransformationExtraArgs, key: Array
) -> MinimizeState:
    variables = dict(model.init(key))
    params = variables.pop("params")
    return MinimizeState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params))


def _step(
    model: Model,
    optimizer: optax.GradientTransformationExtraArgs,
    state: MinimizeState,
    images: Array,
    key: Array,
    labels: Array | None,
) -> tuple[MinimizeState, Metrics]:
    def loss(params: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        variables = {"params": params, **state.collections}
        return model.loss(variables, images, key, state.step, **with_labels(labels))

    (value, (metrics, collections)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    params, optimizer_state = updated(
        optimizer,
        state.params,
        state.optimizer_state,
        value,
        grads,
        lambda params: loss(params)[0],
    )
    return MinimizeState(state.step + 1, params, collections, optimizer_state), metrics


def _epoch(
    step: Callable[..., tuple[MinimizeState, Metrics]],
    batch_size: int,
    state: MinimizeState,
    images: Array,
    key: Array,
    labels: Array | None,
    start: Array | int,
    stop: Array | int | None,
) -> tuple[MinimizeState, Metrics]:
    images, labels = jnp.asarray(images), None if labels is None else jnp.asarray(labels)
    shuffle_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(shuffle_key, len(images))

    def body(state: MinimizeState, index: Array, batch: Array) -> tuple[MinimizeState, Metrics]:
        step_key = jax.random.fold_in(steps_key, index)
        state, metrics = step(
            state, divided(take(images, batch)), step_key, divided(take(labels, batch))
        )
        return state, metrics | {"num_images": counted_images(len(batch), metrics)}

    if isinstance(start, int) and start == 0 and stop is None:
        return scan_batches(body, state, order, batch_size)
    return scan_some_batches(body, state, order, batch_size, start, stop)


def _evaluate(
    model: Model,
    batch_size: int,
    state: MinimizeState,
    images: Array,
    key: Array,
    labels: Array | None,
) -> Metrics:
    images, labels = jnp.asarray(images), None if labels is None else jnp.asarray(labels)

    def of_batch(index: Array, batch: Array) -> Metrics:
        return model.evaluate(
            state.variables,
            divided(take(images, batch)),
            jax.random.fold_in(key, index),
            state.step,
            **with_labels(divided(take(labels, batch))),
        )

    return mean_over_images(of_batch, len(images), batch_size)
