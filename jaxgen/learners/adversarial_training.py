"""Adversarial training: critic and generator take turns, each with its own optimizer.

One step, on num_critic_steps · B real images, does in this order what the published PyTorch code
does:

1. For each slice of B real images in turn:
   a. The generator makes B fakes from fresh noise, in training mode: BatchNorm normalizes by the
      statistics of these fakes, and its running averages move.
   b. The critic scores the real slice, then the fakes, in two passes: each half is normalized by
      its own statistics, and the running averages move twice, first by the real half, then, from
      there, by the fakes.
   c. The critic's optimizer updates the critic; the fakes are constants here.
2. The generator's turn:
   a. With `share_fakes`, it takes the fakes of the last slice, made in 1a before the critic moved;
      they are not made again. Without, it makes B fakes from fresh noise, and its running averages
      move once more.
   b. The critic, as 1c has left it, scores these fakes in training mode; its running averages
      move a third time.
   c. The generator's optimizer updates the generator, by the gradient through fakes and critic.
3. The exponential moving average of the generator is updated, if there is one.

Running averages do not enter a gradient: evaluation and samples are normalized by them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.learners._adversarial_step import Training, step_on
from jaxgen.learners._arguments import (
    ExpectedState,
    OptionsOf,
    compiled,
    compiled_init,
    no_options,
)
from jaxgen.learners._nonfinite import counted_images, skipping_nonfinite
from jaxgen.learners._of_variables import functions_of_state
from jaxgen.learners.adversarial_state import AdversarialState
from jaxgen.learners.batching import full_batches, loop_over_batches, mean_over_images, take
from jaxgen.learners.data_parallelism import divided
from jaxgen.transforms import with_extra_arguments
from jaxgen.types import AdversarialModel, Array, Learner, Metrics, PyTree

SET_SIZE = 256  # images of `evaluate_set`: a mean pairwise distance is known to about a percent


def adversarial(
    model: AdversarialModel,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    num_critic_steps: int = 1,
    *,
    batch_size: int,
    share_fakes: bool = False,
    ema_decay: float | None = None,
    critic_metrics: Callable[[PyTree], Metrics] | None = None,
    options_of: OptionsOf = no_options,
) -> Learner:
    """Fits a generator and a critic in turns; the order of updates is stated above.

    A step takes num_critic_steps · batch_size images. Given fewer, it makes fewer critic updates,
    ceil(images / batch_size), the last one on the images that are left over, and one generator
    update. `epoch` takes full steps only, with every image in them: the last one is filled up with
    images of the first. A smaller last step would be a second instance of both networks and their
    gradients in the program, and double the time to compile it.

    Args:
      model: the mathematics.
      generator_optimizer: an optax gradient transformation; it is given value, grad and value_fn.
      critic_optimizer: another; with `transforms.clip_weights` last where weights are clipped.
      num_critic_steps: critic updates before each generator update.
      batch_size: real images, and fakes, of one update.
      share_fakes: whether the generator's update uses the fakes of the last critic update, which
        saves a forward pass, instead of new ones.
      ema_decay: decay of the moving average of the generator's variables, its running averages
        included: average ← decay · average + (1 − decay) · variables, with the decay of step t
        limited to (1 + t)/(10 + t), so that the first values lose their weight; None for no
        average.
      critic_metrics: parameters of the critic after its last update -> further metrics of a step.
      options_of: () -> XLA's compiler options for step, epoch and evaluate where they are called
        from Python on one device; asked for at their first call.

    Returns:
      A Learner without `encode` and `reconstruct`. Metrics of a step are the model's, means over
      the images of its critic updates, and `critic_gradient_norm` and `generator_gradient_norm`;
      those of `evaluate` are the model's, those of its `evaluate_set` included.

    Raises:
      UserError: if a number is out of range, or a step is given more images than it takes.
    """
    if ema_decay is not None and not _checks.is_traced(ema_decay) and not 0 < ema_decay < 1:
        raise UserError(f"expected ema_decay between 0 and 1, or none, got {ema_decay}")
    training = Training(
        model,
        {
            "generator": with_extra_arguments(generator_optimizer),
            "critic": with_extra_arguments(critic_optimizer),
        },
        _checks.whole_number("num_critic_steps", num_critic_steps),
        _checks.whole_number("batch_size", batch_size),
        share_fakes,
        ema_decay,
        critic_metrics,
    )
    return _learner(training, partial(step_on, training), options_of)


def _learner(
    training: Training,
    one_step: Callable[..., tuple[AdversarialState, Metrics]],
    options_of: OptionsOf,
) -> Learner:
    model, init = training.model, partial(_init, training)
    expected = ExpectedState(AdversarialState, init)

    def step(
        state: AdversarialState, images: Array, key: Array, *, labels: Array | None = None
    ) -> tuple[AdversarialState, Metrics]:
        images = jnp.asarray(images)
        return one_step(state, images, jnp.arange(len(images)), key)

    def epoch(
        state: AdversarialState,
        images: Array,
        key: Array,
        *,
        labels: Array | None = None,
        start: Array | int = 0,
        stop: Array | int | None = None,
    ) -> tuple[AdversarialState, Metrics]:
        return _epoch(training, one_step, state, jnp.asarray(images), key, start, stop)

    def evaluate(
        state: AdversarialState, images: Array, key: Array, *, labels: Array | None = None
    ) -> Metrics:
        return _evaluate(training, state, jnp.asarray(images), key)

    return Learner(
        init=compiled_init(init),
        step=compiled(step, model, expected, options_of),
        epoch=compiled(epoch, model, expected, options_of),
        evaluate=compiled(evaluate, model, expected, options_of),
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        num_classes=model.num_classes,
        images_per_step=training.images_per_step,
        batch_size=training.batch_size,
        fills_last_step=True,
        skipping_nonfinite=lambda: _learner(training, skipping_nonfinite(one_step), options_of),
        **functions_of_state(model, expected, lambda state: state.variables("generator")),
    )


def _init(training: Training, key: Array) -> AdversarialState:
    players = dict(zip(("generator", "critic"), training.model.init(key), strict=True))
    params = {name: variables["params"] for name, variables in players.items()}
    collections: dict[str, Any] = {
        name: {kind: tree for kind, tree in variables.items() if kind != "params"}
        for name, variables in players.items()
    }
    return AdversarialState(
        jnp.zeros((), jnp.int32),
        params,
        collections,
        {name: training.optimizers[name].init(params[name]) for name in players},
        {} if training.ema_decay is None else dict(players["generator"]),
    )


def _epoch(
    training: Training,
    one_step: Callable[..., tuple[AdversarialState, Metrics]],
    state: AdversarialState,
    images: Array,
    key: Array,
    start: Array | int,
    stop: Array | int | None,
) -> tuple[AdversarialState, Metrics]:
    if len(images) < training.batch_size:
        raise UserError(
            f"expected at least one batch of {training.batch_size} images, got {len(images)} "
            "images: choose a smaller batch size"
        )
    shuffle_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(shuffle_key, len(images))

    def body(
        state: AdversarialState, index: Array, rows: Array
    ) -> tuple[AdversarialState, Metrics]:
        step_key = jax.random.fold_in(steps_key, index)
        state, metrics = one_step(state, images, rows, step_key)
        return state, metrics | {"num_images": counted_images(len(rows), metrics)}

    batches = full_batches(order, training.images_per_step)
    return loop_over_batches(body, state, batches, start, len(batches) if stop is None else stop)


def _evaluate(training: Training, state: AdversarialState, images: Array, key: Array) -> Metrics:
    model = training.model
    batches_key, set_key = jax.random.split(key)
    generator, critic = state.variables("generator"), state.variables("critic")

    def of_batch(index: Array, rows: Array) -> Metrics:
        batch_key = jax.random.fold_in(batches_key, index)
        return model.evaluate(generator, critic, divided(take(images, rows)), batch_key)

    means = mean_over_images(of_batch, len(images), training.batch_size)
    if model.evaluate_set is None:
        return means
    # From all over the images, which may be sorted.
    count = min(len(images), SET_SIZE)
    spread = np.linspace(0, len(images) - 1, count).round().astype(int)
    return means | model.evaluate_set(generator, images[spread], set_key)
