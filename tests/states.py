"""States with random numbers everywhere, made without compiling anything."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs


@functools.cache
def _shapes(name, **options):
    return jax.eval_shape(pairs.learner(name, **options).init, jax.random.key(0))


def state_of(name, seed=0, **options):
    """A state of a system at small sizes, weights and statistics between 0.5 and 1.5."""
    rng = np.random.default_rng(seed)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _shapes(name, **options))
    vary = lambda x: jnp.asarray(rng.random(x.shape) + 0.5, x.dtype)  # noqa: E731
    return state._replace(**{name: jax.tree.map(vary, tree) for name, tree in weights(state)})


def weights(state):
    """The fields of a state that hold weights and statistics, with their names."""
    return [(n, getattr(state, n)) for n in state._fields if n not in ("step", "optimizer_state")]
