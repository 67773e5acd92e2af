"""One step of adversarial training: some updates of the critic, then one of the generator."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.errors import UserError
from jaxgen.learners._updates import updated
from jaxgen.learners.adversarial_state import AdversarialState
from jaxgen.learners.batching import scan_batches, take
from jaxgen.learners.data_parallelism import divided
from jaxgen.types import AdversarialModel, Array, Metrics, PyTree


class Training(NamedTuple):
    """The arguments of `adversarial`, with the optimizers by player."""

    model: AdversarialModel
    optimizers: dict[str, optax.GradientTransformationExtraArgs]
    num_critic_steps: int
    batch_size: int
    share_fakes: bool
    ema_decay: float | None
    critic_metrics: Callable[[PyTree], Metrics] | None

    @property
    def images_per_step(self) -> int:
        """Real images of one step."""
        return self.num_critic_steps * self.batch_size


class Fakes(NamedTuple):
    """Images of the generator.

    Attributes:
      images: in the generator's range.
      pullback: gradient of the images -> (gradient of the generator's parameters,).
      generate: parameters -> images, with the same noise.
    """

    images: Array
    pullback: Callable[[Array], tuple[PyTree]]
    generate: Callable[[PyTree], Array]


def step_on(
    training: Training, state: AdversarialState, images: Array, rows: Array, key: Array
) -> tuple[AdversarialState, Metrics]:
    """One step on the given rows of the images."""
    if not 1 <= len(rows) <= training.images_per_step:
        raise UserError(
            f"expected 1 to {training.images_per_step} images a step ({training.num_critic_steps} "
            f"critic updates on {training.batch_size} each), got {len(rows)}: use epoch for more"
        )
    size = min(training.batch_size, len(rows))
    num_updates = -(-len(rows) // size)
    sizes = np.full(num_updates, size, np.float32)
    sizes[-1] = len(rows) - size * (num_updates - 1)
    updates_key, generator_key, shared_key = jax.random.split(key, 3)

    def critic_turn(
        state: AdversarialState, index: Array, rows: Array
    ) -> tuple[AdversarialState, Metrics]:
        noise_key, loss_key = jax.random.split(jax.random.fold_in(updates_key, index))
        state, fakes = _make_fakes(training, state, len(rows), noise_key)
        return _update_critic(training, state, take(images, rows), fakes.images, loss_key)

    if training.share_fakes:
        num_last = int(sizes[-1])
        before, last = rows[:-num_last], rows[-num_last:]
        parts = []
        if len(before):
            state, metrics = scan_batches(critic_turn, state, before, size)
            parts.append(metrics)
        noise_key, loss_key = jax.random.split(shared_key)
        state, fakes = _make_fakes(training, state, num_last, noise_key)
        state, metrics = _update_critic(training, state, take(images, last), fakes.images, loss_key)
        parts.append(jax.tree.map(lambda x: x[None], metrics))
        metrics = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    else:
        state, metrics = scan_batches(critic_turn, state, rows, size)
        state, fakes = _make_fakes(training, state, size, generator_key)
    metrics = jax.tree.map(lambda x: jnp.average(x, axis=0, weights=sizes.astype(x.dtype)), metrics)
    if training.critic_metrics is not None:
        metrics |= training.critic_metrics(state.params["critic"])
    # No critic update has this index.
    loss_key = jax.random.fold_in(updates_key, num_updates)
    state, generator_metrics = _update_generator(training, state, fakes, loss_key)
    return _update_average(training, state), metrics | generator_metrics


def _make_fakes(
    training: Training, state: AdversarialState, num_images: int, key: Array
) -> tuple[AdversarialState, Fakes]:
    def generate(params: PyTree) -> tuple[Array, PyTree]:
        variables = {"params": params, **state.collections["generator"]}
        fakes, collections = training.model.generate(variables, num_images, key)
        return divided(fakes), collections

    images, pullback, collections = jax.vjp(generate, state.params["generator"], has_aux=True)
    state = state.changed("generator", collections=collections)
    return state, Fakes(images, pullback, lambda params: generate(params)[0])


def _update_critic(
    training: Training, state: AdversarialState, images: Array, fakes: Array, key: Array
) -> tuple[AdversarialState, Metrics]:
    def loss(params: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
        variables = {"params": params, **state.collections["critic"]}
        return training.model.critic_loss(variables, divided(images), fakes, key)

    gradient = jax.value_and_grad(loss, has_aux=True)
    (value, (metrics, collections)), grads = gradient(state.params["critic"])
    state, norm = _update(training, state, "critic", value, grads, lambda params: loss(params)[0])
    return state.changed("critic", collections=collections), metrics | norm


def _update_generator(
    training: Training, state: AdversarialState, fakes: Fakes, key: Array
) -> tuple[AdversarialState, Metrics]:
    critic = state.variables("critic")

    def loss(images: Array) -> tuple[Array, tuple[Metrics, PyTree]]:
        return training.model.generator_loss(critic, images, key)

    gradient = jax.value_and_grad(loss, has_aux=True)
    (value, (metrics, collections)), grads_of_fakes = gradient(fakes.images)
    (grads,) = fakes.pullback(grads_of_fakes)
    state = state.changed("critic", collections=collections)
    state, norm = _update(
        training, state, "generator", value, grads, lambda params: loss(fakes.generate(params))[0]
    )
    return state, metrics | norm


def _update(
    training: Training,
    state: AdversarialState,
    player: str,
    value: Array,
    grads: PyTree,
    value_fn: Callable[[PyTree], Array],
) -> tuple[AdversarialState, Metrics]:
    """The state after one step of a player's optimizer, and the norm of its gradient."""
    params, optimizer_state = updated(
        training.optimizers[player],
        state.params[player],
        state.optimizer_state[player],
        value,
        grads,
        value_fn,
    )
    state = state.changed(player, params=params, optimizer_state=optimizer_state)
    return state, {f"{player}_gradient_norm": optax.tree.norm(grads)}


def _update_average(training: Training, state: AdversarialState) -> AdversarialState:
    """The state after the step is counted and the generator's moving average updated."""
    if training.ema_decay is not None:
        decay = jnp.minimum(training.ema_decay, (1 + state.step) / (10 + state.step))
        ema = jax.tree.map(
            lambda mean, value: decay * mean + (1 - decay) * value,
            state.ema,
            state.variables("generator"),
        )
        state = state._replace(ema=ema)
    return state._replace(step=state.step + 1)
