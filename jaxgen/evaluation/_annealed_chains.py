"""Chains that move along the annealed densities of `annealing`, forwards and backwards."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.evaluation import hamiltonian
from jaxgen.types import Array, Density, PyTree

FIRST_STEP_SIZE = 0.1
SIGMOID_RANGE = 4.0  # the temperatures are a sigmoid's values from −4 to 4, as in Wu et al.


class Lengths(NamedTuple):
    """How much work is done for each image."""

    num_chains: int
    num_temperatures: int
    num_leapfrog: int


def temperatures(num_temperatures: int) -> Array:
    """β_0 = 0 to β_T = 1, [T + 1]: dense at both ends, where the densities change fastest."""
    values = jax.nn.sigmoid(jnp.linspace(-SIGMOID_RANGE, SIGMOID_RANGE, num_temperatures + 1))
    return (values - values[0]) / (values[-1] - values[0])


class Path(NamedTuple):
    """The annealed densities of some images, on flat latents [K, B, D]."""

    log_ratio: Callable[[Array], Array]
    log_density: Callable[[Array, Array], Array]


def path_of(
    density: Density, state: PyTree, observations: Array, labels: Array | None, like: PyTree
) -> Path:
    """The path to p(x, z); `like` are latents [B, D] in the model's own structure."""

    def log_ratio(z: Array) -> Array:
        latents = _unflatten(z, like)
        return density.log_joint(state, observations, latents, labels=labels) - log_start(z)

    return Path(log_ratio, lambda z, beta: log_start(z) + beta * log_ratio(z))


@functools.partial(jax.jit, static_argnums=(0, 1))
def forward(
    density: Density,
    lengths: Lengths,
    state: PyTree,
    observations: Array,
    labels: Array | None,
    keys: Array,
) -> tuple[Array, Array, Array]:
    """Lower bound [B], acceptance [B] and step sizes [T, B]; keys [B], one for each image."""
    num_chains, num_temperatures, num_leapfrog = lengths
    num_images = len(observations)
    pilot_keys, run_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    like = jax.eval_shape(lambda: density.sample_prior(state, num_images, keys[0], labels=labels))
    path = path_of(density, state, observations, labels, like)
    size = sum(leaf.shape[-1] for leaf in jax.tree.leaves(like))
    betas = temperatures(num_temperatures)

    def anneal(keys: Array, step_sizes: Array | None) -> tuple[Array, Array, Array]:
        start_keys, move_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        start = hamiltonian.normal(start_keys, (num_chains, num_images, size))

        def move(carry: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
            z, log_weights, adapting = carry
            index, before, beta, fixed = x
            step_size = adapting if step_sizes is None else fixed
            log_weights = log_weights + (beta - before) * path.log_ratio(z)
            moved = hamiltonian.transition(
                lambda z: path.log_density(z, beta),
                z,
                jnp.broadcast_to(step_size[None], (num_chains, num_images)),
                _folded(move_keys, index),
                num_leapfrog,
            )
            acceptance = moved.acceptance.mean(axis=0)
            carry = (moved.position, log_weights, hamiltonian.adapted(adapting, acceptance))
            return carry, (step_size, acceptance)

        fixed = jnp.zeros((num_temperatures, num_images)) if step_sizes is None else step_sizes
        steps = (jnp.arange(num_temperatures), betas[:-1], betas[1:], fixed)
        first = (start, jnp.zeros((num_chains, num_images)), jnp.full(num_images, FIRST_STEP_SIZE))
        (_, log_weights, _), (used, acceptance) = jax.lax.scan(move, first, steps)
        return log_weights, used, acceptance

    _, step_sizes, _ = anneal(pilot_keys, None)
    log_weights, _, acceptance = anneal(run_keys, step_sizes)
    return _log_mean(log_weights), acceptance.mean(axis=0), step_sizes


@functools.partial(jax.jit, static_argnums=(0, 1))
def backward(
    density: Density,
    lengths: Lengths,
    state: PyTree,
    observations: Array,
    labels: Array | None,
    latents: PyTree,
    step_sizes: Array,
    keys: Array,
) -> Array:
    """Upper bound [B], from latents that are exact samples of p(z|x); keys [B]."""
    num_chains, num_temperatures, num_leapfrog = lengths
    path = path_of(density, state, observations, labels, latents)
    betas = temperatures(num_temperatures)
    flat = jnp.concatenate(jax.tree.leaves(latents), axis=-1)
    start = jnp.broadcast_to(flat[None], (num_chains, *flat.shape))

    def move(carry: PyTree, x: PyTree) -> tuple[PyTree, None]:
        z, log_weights = carry
        index, before, beta, step_size = x
        moved = hamiltonian.transition(
            lambda z: path.log_density(z, beta),
            z,
            jnp.broadcast_to(step_size[None], z.shape[:2]),
            _folded(keys, index),
            num_leapfrog,
        )
        z = moved.position
        return (z, log_weights + (beta - before) * path.log_ratio(z)), None

    steps = (jnp.arange(num_temperatures), betas[:-1], betas[1:], step_sizes)
    first = (start, jnp.zeros(start.shape[:2]))
    (_, log_weights), _ = jax.lax.scan(move, first, steps, reverse=True)
    return -_log_mean(-log_weights)


def log_start(z: Array) -> Array:
    """log N(z; 0, I), [..., D] -> [...]."""
    return -0.5 * (z**2 + math.log(2 * math.pi)).sum(axis=-1)


def _unflatten(z: Array, like: PyTree) -> PyTree:
    """Flat latents [K, B, D] in the model's structure."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.shape[-1] for leaf in leaves])[:-1]
    return jax.tree.unflatten(structure, jnp.split(z, ends, axis=-1))


def _folded(keys: Array, index: Array) -> Array:
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)


def _log_mean(log_weights: Array) -> Array:
    """log of the mean weight, [K, B] -> [B]."""
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))
