"""The state of a system from PyTorch's state dicts, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError, expect_at_least
from jaxgen.interop import keys
from jaxgen.types import Learner, PyTree

StateDicts = Mapping[str, Any]


def load_torch(
    system: str | Callable[..., Learner],
    state: PyTree,
    state_dicts: StateDicts,
    *,
    image_channels: int = 1,
) -> PyTree:
    """A state with the weights and BatchNorm statistics of PyTorch's state dicts.

    The arrays keep the state's dtype. Step and optimizer state stay as they are: a run that goes
    on from a fresh state starts its optimizer anew. A moving average of the generator, where the
    state has one, becomes the generator.

    Args:
      system: name or function of a source system: "vae_mnist" or `systems.vae_mnist`.
      state: of that system's learner, from `init`; it is not changed.
      state_dicts: key -> array or tensor, under the keys of docs/pytorch.md; where the system has
        several networks {"generator": ..., "critic": ...}, or one dict of "generator.KEY".
        num_batches_tracked may be there and is not read.
      image_channels: of the images, where it is not 1 and dense layers read or write them.

    Raises:
      UserError: where entries are missing, unexpected or misshapen: one error that lists them all;
        and where the state is not of that system.

    Example:
      >>> learner = systems.vae_mnist()
      >>> state = learner.init(jax.random.key(0))
      >>> state = interop.load_torch("vae_mnist", state, interop.read("vae_mnist.pt"))
    """
    name = keys.name_of(system)
    leaves = _leaves(name, state)
    entries, counters = _entries(name, leaves, image_channels)
    given = flatten(state_dicts)
    arrays, problems = {}, []
    for entry in entries:
        expected = list(entry.layout.torch)
        if entry.key not in given:
            problems.append(f"{entry.key} {expected} is missing")
            continue
        array = as_array(entry.key, given[entry.key])
        if list(array.shape) != expected:
            problems.append(f"{entry.key} is {list(array.shape)}, expected {expected}")
            continue
        arrays[entry.path] = _like(leaves[entry.path], entry.layout.from_torch(array))
    for key in given.keys() - {entry.key for entry in entries} - set(counters):
        problems.append(f"{key} {list(np.shape(given[key]))} is unexpected")
    if problems:
        raise UserError(
            f"cannot load this state dict into {name}, {len(problems)} of its entries do not fit: "
            f"{'; '.join(sorted(problems))}; build the system with the sizes it was trained with"
        )
    return _with_leaves(state, arrays)


def to_torch(
    system: str | Callable[..., Learner], state: PyTree, *, image_channels: int = 1
) -> dict[str, Any]:
    """The state dicts of a state: the inverse of `load_torch`, exact in every bit.

    Args:
      system: name or function of a source system.
      state: of that system's learner.
      image_channels: as in `load_torch`.

    Returns:
      {key: NumPy array}, or {part: {key: NumPy array}} where the system has several networks:
      what load_state_dict takes once each is a tensor (`torch.from_numpy`). BatchNorm's
      num_batches_tracked, which PyTorch reads only where its momentum is None, is the state's
      step.

    Raises:
      UserError: where the state is not of that system.
    """
    name = keys.name_of(system)
    leaves = _leaves(name, state)
    entries, counters = _entries(name, leaves, image_channels)
    arrays = {entry.key: entry.layout.to_torch(leaves[entry.path]) for entry in entries}
    arrays |= {key: np.asarray(state.step, np.int64) for key in counters}
    parts = keys.PARTS.get(name)
    if parts is None:
        return arrays
    return {
        part: {
            key.removeprefix(f"{part}."): value
            for key, value in arrays.items()
            if key.startswith(f"{part}.")
        }
        for part in parts
    }


def flatten(state_dicts: StateDicts, prefix: str = "") -> dict[str, Any]:
    """One dict of dotted keys: {"critic": {"1.weight": x}} -> {"critic.1.weight": x}."""
    flat = {}
    for key, value in state_dicts.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_array(key: str, value: Any) -> np.ndarray:
    """An array or tensor as a NumPy array.

    Raises:
      UserError: where it is neither, or not of numbers.
    """
    if hasattr(value, "detach"):  # a tensor, perhaps on another device
        value = value.detach().cpu()
        # NumPy has no bfloat16, which float32 holds exactly.
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = np.asarray(value)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype.name == "bfloat16"):
        raise UserError(
            f"expected {key} to be an array or tensor of numbers, got {type(value).__name__}: "
            "give what state_dict() gives"
        )
    return array


def _entries(
    name: str, leaves: keys.Leaves, image_channels: int
) -> tuple[list[keys.Entry], list[str]]:
    expect_at_least("image_channels", image_channels, 1)
    return keys.entries(name, leaves, image_channels)


def _leaves(name: str, state: PyTree) -> keys.Leaves:
    """All parameters and running averages, by path."""
    try:
        trees = {"params": state.params, "batch_stats": state.batch_stats}
    except AttributeError:
        raise UserError(
            f"expected the state of a learner of {name}, got {type(state).__name__}: give what "
            "learner.init gives"
        ) from None
    return keys.leaves_of(trees)


def _like(leaf: Any, array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, leaf.dtype)


def _with_leaves(state: PyTree, arrays: Mapping[tuple[str, ...], jax.Array]) -> PyTree:
    def replaced(tree: PyTree, *path: str) -> PyTree:
        if not isinstance(tree, Mapping):
            return arrays[path]
        return {name: replaced(child, *path, name) for name, child in tree.items()}

    state = state._replace(
        params=replaced(state.params, "params"),
        batch_stats=replaced(state.batch_stats, "batch_stats"),
    )
    if getattr(state, "ema", None):
        state = state._replace(ema=jax.tree.map(jnp.array, state.variables("generator")))
    return state
