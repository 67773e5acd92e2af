"""The state of a system from PyTorch's state dicts, and back."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.interop import keys
from jaxgen.interop.flattening import StateDicts, as_array, flatten, plain
from jaxgen.interop.matching import Match, match, nearest_pairs, notice, shortened, within
from jaxgen.learners import AdversarialState
from jaxgen.types import Learner, PyTree

logger = logging.getLogger(__name__)


def load_torch(
    system: str | Callable[..., Learner],
    state: PyTree,
    state_dicts: StateDicts,
    *,
    image_channels: int = 1,
) -> PyTree:
    """A state with the weights and BatchNorm statistics of PyTorch's state dicts.

    The arrays get the state's dtype. Step and optimizer state are unchanged. Where the state has a
    moving average of the generator, it is set to the generator.

    The keys are found wherever they are: inside `state_dict`, `model` or any other name under which
    a training script stored them, and after any prefix (`module.`, `_orig_mod.`). A line logged at
    level WARNING says where, and what else the file holds.

    Args:
      system: name or function of a system with a PyTorch original: "vae_mnist" or
        `systems.vae_mnist`.
      state: of that system's learner, from `init`; it is not changed.
      state_dicts: key -> array or tensor, under the keys of docs/pytorch.md; where the system has
        several networks {"generator": ..., "critic": ...}, or one dict of "generator.KEY". A
        torch.nn.Module stands for its state dict. num_batches_tracked is ignored.
      image_channels: of the images, where it is not 1 and dense layers read or write them.

    Raises:
      UserError: entries are missing, unexpected or of other shapes, all of them listed in one
        line; weights are NaN or infinite; the state is not of that system.

    Example:
      >>> import jax
      >>> from jaxgen import interop, systems
      >>> learner = systems.vae_mnist()
      >>> state = learner.init(jax.random.key(0))
      >>> state_dict = interop.to_torch("vae_mnist", state)
      >>> state = interop.load_torch("vae_mnist", state, state_dict)
    """
    name = keys.name_of(system)
    leaves = _leaves(name, state)
    namings = _namings(name, leaves, image_channels)
    given = flatten(plain(state_dicts))
    matched = match(name, namings, given)
    given |= {there: as_array(there, given[there]) for there in matched.found.values()}
    unused = matched.unused(given)
    _check_fit(name, matched, given, unused)
    arrays, broken = {}, []
    for entry in matched.naming.entries:
        there = matched.found[entry.key]
        with np.errstate(over="ignore"):  # float64 that overflows float32 is refused below
            array = _like(leaves[entry.path], entry.layout.from_torch(given[there]))
        if not np.isfinite(array).all():
            broken.append(there)
        arrays[entry.path] = array
    if broken:
        raise UserError(
            f"expected finite weights for {name}, found NaN or infinite values in "
            f"{shortened(broken)}: use weights from before the training diverged"
        )
    if line := notice(name, namings, matched, unused):
        logger.warning(line)
    return _with_leaves(state, arrays)


def to_torch(
    system: str | Callable[..., Learner], state: PyTree, *, image_channels: int = 1
) -> dict[str, Any]:
    """The state dicts of a state: the inverse of `load_torch`, exact in every bit.

    Args:
      system: name or function of a system with a PyTorch original.
      state: of that system's learner.
      image_channels: as in `load_torch`.

    Returns:
      {key: NumPy array}, or {part: {key: NumPy array}} where the system has several networks. With
      tensors in place of the arrays (`torch.from_numpy`), load_state_dict takes them. BatchNorm's
      num_batches_tracked, which PyTorch uses only if its momentum is None, is the state's step.

    Raises:
      UserError: the state is not of that system.
    """
    name = keys.name_of(system)
    leaves = _leaves(name, state)
    naming = _namings(name, leaves, image_channels)[0]
    arrays = {entry.key: entry.layout.to_torch(leaves[entry.path]) for entry in naming.entries}
    arrays |= {key: np.asarray(state.step, np.int64) for key in naming.counters}
    if naming.parts == ("",):
        return arrays
    return {
        part: {key: arrays[f"{part}.{key}"] for key in within(arrays, part)}
        for part in naming.parts
    }


def _namings(name: str, leaves: keys.Leaves, image_channels: int) -> list[keys.Naming]:
    _checks.at_least("image_channels", image_channels, 1)
    return keys.namings(name, leaves, image_channels)


def _check_fit(name: str, matched: Match, given: Mapping[str, Any], unused: list[str]) -> None:
    """Raises UserError unless every expected array is there, in its shape, and no other."""
    shapes = {entry.key: entry.layout.torch for entry in matched.naming.entries}
    missing = {key: shape for key, shape in shapes.items() if key not in matched.found}
    if missing:
        left = {key: np.shape(given[key]) for key in unused}
        if pairs := nearest_pairs(missing, left):
            shown = [f"{there} may be {layer}" for layer, there in pairs.items()]
            raise UserError(
                f"cannot load this state dict into {name}: the sizes agree, the names of "
                f"{len(pairs)} layers differ ({shortened(shown)}); rename its keys to those of "
                "docs/pytorch.md"
            )
    problems = [f"{key} {list(shape)} is missing" for key, shape in missing.items()]
    for key, there in matched.found.items():
        if np.shape(given[there]) != shapes[key]:
            found = list(np.shape(given[there]))
            problems.append(f"{key} is {found}, expected {list(shapes[key])}")
    prefixes = tuple(matched.prefixes.values())
    problems += [
        f"{key} {list(np.shape(given[key]))} is unexpected"
        for key in unused
        if key.startswith(prefixes) or not prefixes
    ]
    if problems:
        raise UserError(
            f"cannot load this state dict into {name}, {len(problems)} of its entries do not fit: "
            f"{'; '.join(sorted(problems))}; build the system with the sizes it was trained with"
        )


def _leaves(name: str, state: PyTree) -> keys.Leaves:
    """All parameters and running averages, by path."""
    try:
        trees = {"params": state.params, "batch_stats": _batch_stats(state)}
    except AttributeError:
        raise UserError(
            f"expected the state of a learner of {name}, got {type(state).__name__}: pass what "
            "learner.init returns"
        ) from None
    return keys.leaves_of(trees)


def _batch_stats(state: PyTree) -> PyTree:
    """The running averages of BatchNorm, by network."""
    if isinstance(state, AdversarialState):
        return {player: own.get("batch_stats", {}) for player, own in state.collections.items()}
    return state.collections.get("batch_stats", {})


def _like(leaf: Any, array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, leaf.dtype)


def _with_leaves(state: PyTree, arrays: Mapping[tuple[str, ...], jax.Array]) -> PyTree:
    def replaced(tree: PyTree, *path: str) -> PyTree:
        if not isinstance(tree, Mapping):
            return arrays[path]
        return {name: replaced(child, *path, name) for name, child in tree.items()}

    batch_stats = replaced(_batch_stats(state), "batch_stats")
    if isinstance(state, AdversarialState):
        collections = {
            player: own | ({"batch_stats": batch_stats[player]} if "batch_stats" in own else {})
            for player, own in state.collections.items()
        }
    else:
        collections = state.collections | ({"batch_stats": batch_stats} if batch_stats else {})
    state = state._replace(params=replaced(state.params, "params"), collections=collections)
    if getattr(state, "ema", None):
        state = state._replace(ema=jax.tree.map(jnp.array, state.variables("generator")))
    return state
