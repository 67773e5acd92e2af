"""jaxgen's side of the comparison with PyTorch: a few recorded steps from given weights.

Importing needs no PyTorch. Arrays are named by PyTorch's keys and laid out as PyTorch's.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.pairs import BATCH_NORM, Sizes
from jaxgen import interop, systems
from jaxgen.interop.flattening import flatten
from jaxgen.types import Learner, PyTree

Arrays = dict[str, np.ndarray]
CRITIC_STEPS = 5  # of wgan_mnist
GANS = ("dcgan_mnist", "wgan_mnist")


class Trajectory(NamedTuple):
    """The record of a few training steps.

    Attributes:
      outputs: in evaluation mode, before the first step: decoded images, mean and log_var.
      losses: of every step, by name, each [num_steps].
      gradients: of the first step, by PyTorch's key; the last ones of each network in it.
      statistics: BatchNorm's running statistics after the first step, by PyTorch's key.
      weights: after the last step, by PyTorch's key, with the running statistics.
    """

    outputs: Arrays
    losses: Arrays
    gradients: Arrays
    statistics: Arrays
    weights: Arrays


class Recorded(NamedTuple):
    """The state of `recording`."""

    gradients: PyTree
    inner: optax.OptState


def recording(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same optimizer, which keeps the gradients it was last given."""

    def init(params: PyTree) -> Recorded:
        return Recorded(jax.tree.map(jnp.zeros_like, params), optimizer.init(params))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Recorded]:
        new, inner = optimizer.update(updates, state.inner, params)
        return new, Recorded(updates, inner)

    return optax.GradientTransformation(init, update)


def build(name: str, sizes: Sizes, batch_size: int, epsilon: float | None = None) -> Learner:
    """A system that counts as PyTorch does and whose optimizers keep the gradients.

    Args:
      name: of the system.
      sizes: of its networks.
      batch_size: images of an update.
      epsilon: what Adam and RMSprop add to the denominator; None for the published 1e-8.
    """
    options: dict[str, Any] = sizes.jaxgen | {"batch_size": batch_size}
    if name in BATCH_NORM:
        options["running_variance"] = "unbiased"
    system: Callable[..., Learner] = getattr(systems, name)
    rate = inspect.signature(system).parameters["learning_rate"].default
    optimizer = recording(_published_optimizer(name, rate, 1e-8 if epsilon is None else epsilon))
    if name in GANS:
        return system(**options, generator_optimizer=optimizer, critic_optimizer=optimizer)
    return system(**options, optimizer=optimizer)


def _published_optimizer(
    name: str, learning_rate: float, epsilon: float
) -> optax.GradientTransformation:
    if name == "wgan_mnist":
        return optax.rmsprop(learning_rate, decay=0.99, eps=epsilon, eps_in_sqrt=False)
    return optax.adam(learning_rate, b1=0.5 if name == "dcgan_mnist" else 0.9, eps=epsilon)


def images_of(sizes: Sizes, count: int, seed: int = 0) -> np.ndarray:
    """Images [count, H, W, C], multiples of 1/256 in [0, 1): exact in float32.

    Grey ones are ink on black with a black margin, as MNIST is; coloured ones are smooth.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = sizes.image_shape
    coarse = rng.random((count, height // 4 + 1, width // 4 + 1, channels))
    smooth = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, 2 : height + 2, 2 : width + 2]
    images = 0.7 * smooth + 0.3 * rng.random((count, *sizes.image_shape))
    if channels == 1:
        margin = height // 7
        images = np.clip(3 * images - 1, 0, 1)
        images[:, :margin] = images[:, -margin:] = 0
        images[:, :, :margin] = images[:, :, -margin:] = 0
    return np.floor(images * 255) / 256


def images_per_step(name: str, batch_size: int) -> int:
    """How many images one step takes."""
    return batch_size * CRITIC_STEPS if name == "wgan_mnist" else batch_size


def noise_of(name: str, sizes: Sizes, key: jax.Array, batch_size: int, dtype: Any) -> np.ndarray:
    """The random numbers of a step with this key, in the form that the PyTorch twin takes."""
    shape = (batch_size, sizes.latent_size)
    if name == "wgan_mnist":
        updates_key, generator_key, _ = jax.random.split(key, 3)
        keys = [
            jax.random.split(jax.random.fold_in(updates_key, i))[0] for i in range(CRITIC_STEPS)
        ]
        draws = [jax.random.normal(k, shape, dtype) for k in (*keys, generator_key)]
        return np.stack(draws)
    if name == "dcgan_mnist":
        shared_key = jax.random.split(key, 3)[2]
        return np.array(jax.random.normal(jax.random.split(shared_key)[0], shape, dtype))
    num_samples = sizes.jaxgen.get("num_samples", 10) if name == "vae_animals" else 1
    noise = jax.random.normal(jax.random.split(key)[1], (num_samples, *shape), dtype)
    return np.array(noise if name == "vae_animals" else noise[0])


def key_of(step: int) -> jax.Array:
    """The key of a step."""
    return jax.random.fold_in(jax.random.key(17), step)


def run(
    name: str,
    sizes: Sizes,
    start: dict[str, Any],
    images: np.ndarray,
    *,
    batch_size: int,
    num_steps: int,
    epsilon: float | None = None,
) -> Trajectory:
    """Trains jaxgen's side, in the dtype of the images.

    Args:
      name: of the system.
      sizes: of its networks.
      start: state dicts to start from.
      images: [num_steps · images_per_step, H, W, C] in [0, 1].
      batch_size: of an update.
      num_steps: how many.
      epsilon: as in `build`.
    """
    learner = build(name, sizes, batch_size, epsilon)
    dtype = images.dtype
    # PyTorch's convolutions keep the zeros of a gradient, which Adam makes steps of otherwise.
    highest = jax.default_matmul_precision("highest")
    with jax.enable_x64(dtype == np.float64), highest:
        state = jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            learner.init(jax.random.key(0)),
        )
        state = interop.load_torch(name, state, start)
        outputs = _outputs(learner, state, sizes, images[:batch_size])
        size, history = images_per_step(name, batch_size), []
        gradients, statistics = {}, {}
        for step in range(num_steps):
            batch = images[step * size : (step + 1) * size]
            state, metrics = learner.step(state, batch, key_of(step))
            history.append({k: v for k, v in metrics.items() if k in LOSSES})
            if step == 0:
                gradients = _gradients(name, state)
                statistics = running(flatten(interop.to_torch(name, state)))
        losses = {name: np.array([losses[name] for losses in history]) for name in history[0]}
        weights = flatten(interop.to_torch(name, state))
    return Trajectory(outputs, losses, gradients, statistics, without_counters(weights))


LOSSES = ("loss", "kl", "reconstruction", "critic_loss", "generator_loss")


def without_counters(arrays: Arrays) -> Arrays:
    """All but num_batches_tracked."""
    return {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}


def running(arrays: Arrays) -> Arrays:
    """The running statistics."""
    return {k: v for k, v in arrays.items() if k.endswith(("running_mean", "running_var"))}


def start_of(name: str, sizes: Sizes) -> dict[str, Any]:
    """State dicts of numbers that float32 holds: weights of PyTorch's size, statistics not fresh.

    A dict of dotted keys, "generator.KEY" where there are several networks.
    """
    rng = np.random.default_rng(2)
    state = build(name, sizes, batch_size=2).init(jax.random.key(0))
    arrays = flatten(interop.to_torch(name, state))
    for key, array in sorted(arrays.items()):
        if key.endswith("num_batches_tracked"):
            continue
        scale = 1 / np.sqrt(np.prod(array.shape[1:])) if array.ndim > 1 else 0.1
        values = rng.uniform(-scale, scale, array.shape)
        # A vector called weight is BatchNorm's scale.
        if key.endswith("running_var") or (array.ndim == 1 and key.endswith("weight")):
            values += 1
        arrays[key] = values.astype(np.float32)
    return arrays


def latents_of(sizes: Sizes, count: int, dtype: Any) -> np.ndarray:
    """Latents to decode."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((count, sizes.latent_size)).astype(np.float32).astype(dtype)


def _outputs(learner: Learner, state: PyTree, sizes: Sizes, images: np.ndarray) -> Arrays:
    if learner.encode is None:
        latents = latents_of(sizes, len(images), images.dtype)
        return {"images": np.asarray(learner.decode(state, latents))}
    mean, log_var = learner.encode(state, images)
    decoded = learner.reconstruct(state, images)
    return {
        k: np.asarray(v) for k, v in {"mean": mean, "log_var": log_var, "images": decoded}.items()
    }


def _gradients(name: str, state: PyTree) -> Arrays:
    recorded = state.optimizer_state
    if isinstance(recorded, dict):
        gradients = {player: _recorded(each) for player, each in recorded.items()}
    else:
        gradients = recorded.gradients
    arrays = flatten(interop.to_torch(name, state._replace(params=gradients)))
    return {k: v for k, v in without_counters(arrays).items() if k not in running(arrays)}


def _recorded(state: Any) -> PyTree:
    """The gradients in the state of a recording optimizer, or of a chain that begins with one."""
    return state.gradients if isinstance(state, Recorded) else _recorded(state[0])
