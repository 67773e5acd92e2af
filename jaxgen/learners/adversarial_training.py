"""The adversarial descent: critic and generator take turns, each with its own optimizer.

One step, on num_critic_steps · B real images, does in this order what the published PyTorch code
does:

1. For each slice of B real images in turn:
   a. The generator makes B fakes from fresh noise, in training mode: BatchNorm normalises by the
      statistics of these fakes, and its running averages move.
   b. The critic scores the real slice, then the fakes, in two passes: each half is normalised by
      its own statistics, and the running averages move twice, first by the real half, then, from
      there, by the fakes.
   c. The critic's optimizer moves the critic down its loss; the fakes are constants here.
2. The generator's turn:
   a. With `share_fakes`, it takes the fakes of the last slice, made in 1a before the critic moved;
      they are not made again. Without, it makes B fakes from fresh noise, and its running averages
      move once more.
   b. The critic, as 1c has left it, scores these fakes in training mode; its running averages
      move a third time.
   c. The generator's optimizer moves the generator down its loss, through fakes and critic.
3. The generator's exponential moving average, where there is one, follows.

Running averages never enter a gradient: they are what evaluation and samples are normalised by.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.learners._arguments import ExpectedState, compiled, compiled_init
from jaxgen.learners._of_variables import functions_of_state
from jaxgen.learners.adversarial_state import AdversarialState
from jaxgen.learners.batching import (
    full_batches,
    loop_over_batches,
    mean_over_images,
    scan_batches,
    take,
)
from jaxgen.models.diversity import relative_diversity
from jaxgen.models.pixels import unit_interval
from jaxgen.types import AdversarialModel, Array, Learner, Metrics, PyTree

WHOLE_EPOCH = 2**31 - 1  # more steps than any epoch has
DIVERSITY_SAMPLES = 256  # their mean pairwise distance is known to about a percent


def adversarial(
    model: AdversarialModel,
    generator_optimizer: optax.GradientTransformation,
    critic_optimizer: optax.GradientTransformation,
    num_critic_steps: int = 1,
    *,
    batch_size: int,
    share_fakes: bool = False,
    ema_decay: float | None = None,
) -> Learner:
    """Fits a generator and a critic in turns; the order of updates is stated above.

    A step takes num_critic_steps · batch_size images. Given fewer, it makes fewer critic updates,
    ceil(images / batch_size), the last one on the images that are left over, and one generator
    update as ever. `epoch` takes full steps alone, with every image in them: the last one is filled
    up with images of the first. A smaller last step would be a second instance of both networks
    and their gradients in the program, and double the time to compile it.

    Args:
      model: the mathematics.
      generator_optimizer: an optax gradient transformation.
      critic_optimizer: another; with `transforms.clip_weights` last where weights are clipped.
      num_critic_steps: critic updates before each generator update.
      batch_size: real images, and fakes, of one update.
      share_fakes: whether the generator descends on the fakes of the last critic update, which
        saves a forward pass, rather than on fresh ones.
      ema_decay: decay of the moving average of the generator's variables, its running averages
        included: average ← decay · average + (1 − decay) · variables, with the decay of step t
        limited to (1 + t)/(10 + t) so that the start is forgotten; None for no average.

    Returns:
      A Learner without `encode` and `reconstruct`. Metrics of a step are the model's, means over
      the images of its critic updates, and `critic_gradient_norm` and `generator_gradient_norm`;
      those of `evaluate` are the model's, and `diversity`, see `diversity.relative_diversity`.

    Raises:
      UserError: where a number is out of range, or a step is given more images than it takes.
    """
    batch_size = _checks.whole_number("batch_size", batch_size)
    num_critic_steps = _checks.whole_number("num_critic_steps", num_critic_steps)
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise UserError(f"expected ema_decay between 0 and 1, or none, got {ema_decay}")
    images_per_step = num_critic_steps * batch_size
    optimizers = {"generator": generator_optimizer, "critic": critic_optimizer}

    def init(key: Array) -> AdversarialState:
        players = dict(zip(("generator", "critic"), model.init(key), strict=True))
        # Empty collections may be missing from what linen gives.
        players = {
            name: {"params": {}, "batch_stats": {}} | dict(variables)
            for name, variables in players.items()
        }
        params = {name: variables["params"] for name, variables in players.items()}
        return AdversarialState(
            jnp.zeros((), jnp.int32),
            params,
            {name: variables["batch_stats"] for name, variables in players.items()},
            {name: optimizers[name].init(params[name]) for name in players},
            {} if ema_decay is None else players["generator"],
        )

    def descend(
        state: AdversarialState, player: str, grads: PyTree
    ) -> tuple[AdversarialState, Metrics]:
        params = state.params[player]
        updates, optimizer_state = optimizers[player].update(
            grads, state.optimizer_state[player], params
        )
        params = optax.apply_updates(params, updates)
        state = state.changed(player, params=params, optimizer_state=optimizer_state)
        return state, {f"{player}_gradient_norm": optax.tree.norm(grads)}

    def update_critic(
        state: AdversarialState, images: Array, fakes: Array, key: Array
    ) -> tuple[AdversarialState, Metrics]:
        def loss(params: PyTree) -> tuple[Array, tuple[Metrics, PyTree]]:
            variables = {"params": params, "batch_stats": state.batch_stats["critic"]}
            return model.critic_loss(variables, images, fakes, key)

        grads, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(state.params["critic"])
        state, norm = descend(state, "critic", grads)
        return state.changed("critic", batch_stats=batch_stats), metrics | norm

    def make_fakes(
        state: AdversarialState, num_images: int, key: Array
    ) -> tuple[AdversarialState, Array, Callable[[Array], tuple[PyTree]]]:
        """Fakes, and the way back from their gradient to that of the generator's parameters."""

        def generate(params: PyTree) -> tuple[Array, PyTree]:
            variables = {"params": params, "batch_stats": state.batch_stats["generator"]}
            return model.generate(variables, num_images, key)

        fakes, pullback, batch_stats = jax.vjp(generate, state.params["generator"], has_aux=True)
        return state.changed("generator", batch_stats=batch_stats), fakes, pullback

    def update_generator(
        state: AdversarialState, fakes: Array, pullback: Callable[[Array], tuple[PyTree]]
    ) -> tuple[AdversarialState, Metrics]:
        def loss(fakes: Array) -> tuple[Array, tuple[Metrics, PyTree]]:
            return model.generator_loss(state.variables("critic"), fakes)

        grads_of_fakes, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(fakes)
        (grads,) = pullback(grads_of_fakes)
        state = state.changed("critic", batch_stats=batch_stats)
        state, norm = descend(state, "generator", grads)
        return state, metrics | norm

    def follow(state: AdversarialState) -> AdversarialState:
        if ema_decay is not None:
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema = jax.tree.map(
                lambda mean, value: decay * mean + (1 - decay) * value,
                state.ema,
                state.variables("generator"),
            )
            state = state._replace(ema=ema)
        return state._replace(step=state.step + 1)

    def step_on(
        state: AdversarialState, images: Array, rows: Array, key: Array
    ) -> tuple[AdversarialState, Metrics]:
        """One step on the given rows of the images."""
        if not 1 <= len(rows) <= images_per_step:
            raise UserError(
                f"expected 1 to {images_per_step} images a step ({num_critic_steps} critic updates "
                f"on {batch_size} each), got {len(rows)}: use epoch for more"
            )
        size = min(batch_size, len(rows))
        whole, rest = divmod(len(rows), size)
        sizes = np.array([size] * whole + [rest] * bool(rest))
        updates_key, generator_key, shared_key = jax.random.split(key, 3)

        def turn(
            state: AdversarialState, index: Array, rows: Array
        ) -> tuple[AdversarialState, Metrics]:
            noise_key, loss_key = jax.random.split(jax.random.fold_in(updates_key, index))
            state, fakes, _ = make_fakes(state, len(rows), noise_key)
            return update_critic(state, take(images, rows), fakes, loss_key)

        if share_fakes:
            before, last = rows[: -sizes[-1]], rows[-sizes[-1] :]
            parts = []
            if len(before):
                state, metrics = scan_batches(turn, state, before, size)
                parts.append(metrics)
            noise_key, loss_key = jax.random.split(shared_key)
            state, fakes, pullback = make_fakes(state, len(last), noise_key)
            state, metrics = update_critic(state, take(images, last), fakes, loss_key)
            parts.append(jax.tree.map(lambda x: x[None], metrics))
            metrics = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        else:
            state, metrics = scan_batches(turn, state, rows, size)
            state, fakes, pullback = make_fakes(state, size, generator_key)
        metrics = jax.tree.map(lambda x: jnp.average(x, axis=0, weights=sizes), metrics)
        state, more = update_generator(state, fakes, pullback)
        return follow(state), metrics | more

    def step(
        state: AdversarialState, images: Array, key: Array, *, labels: Array | None = None
    ) -> tuple[AdversarialState, Metrics]:
        images = jnp.asarray(images)
        return step_on(state, images, jnp.arange(len(images)), key)

    def epoch(
        state: AdversarialState,
        images: Array,
        key: Array,
        *,
        labels: Array | None = None,
        start: Array | int = 0,
        stop: Array | int | None = None,
    ) -> tuple[AdversarialState, Metrics]:
        images = jnp.asarray(images)
        stop = WHOLE_EPOCH if stop is None else stop
        if len(images) < batch_size:
            raise UserError(
                f"expected at least one batch of {batch_size} images, got {len(images)} images: "
                "choose a smaller batch size"
            )
        shuffle_key, steps_key = jax.random.split(key)
        order = jax.random.permutation(shuffle_key, len(images))

        def body(
            state: AdversarialState, index: Array, rows: Array
        ) -> tuple[AdversarialState, Metrics]:
            state, metrics = step_on(state, images, rows, jax.random.fold_in(steps_key, index))
            return state, metrics | {"num_images": jnp.float32(len(rows))}

        batches = full_batches(order, images_per_step)
        return loop_over_batches(body, state, batches, start, stop)

    def evaluate(
        state: AdversarialState, images: Array, key: Array, *, labels: Array | None = None
    ) -> Metrics:
        images = jnp.asarray(images)
        batches_key, samples_key = jax.random.split(key)
        players = state.variables("generator"), state.variables("critic")

        def of_batch(index: Array, rows: Array) -> Metrics:
            return model.evaluate(
                *players, take(images, rows), jax.random.fold_in(batches_key, index)
            )

        means = mean_over_images(of_batch, len(images), batch_size)
        count = min(len(images), DIVERSITY_SAMPLES)
        samples = model.sample(players[0], count, samples_key)
        # From all over the set, which may be sorted.
        spread = np.linspace(0, len(images) - 1, count).round().astype(int)
        shown = unit_interval(images[spread], samples.shape[1:])
        return means | {"diversity": relative_diversity(samples, shown)}

    expected = ExpectedState(AdversarialState, init)
    return Learner(
        init=compiled_init(init),
        step=compiled(step, model, expected),
        epoch=compiled(epoch, model, expected),
        evaluate=compiled(evaluate, model, expected),
        image_shape=model.image_shape,
        latent_size=model.latent_size,
        num_classes=model.num_classes,
        images_per_step=images_per_step,
        **functions_of_state(model, expected, lambda state: state.variables("generator")),
    )
