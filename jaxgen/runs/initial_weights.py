"""Trained weights as the start of a run, with a fresh optimizer."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import interop
from jaxgen._files import expanded, printable
from jaxgen.errors import UserError
from jaxgen.interop.state_files import read_safetensors
from jaxgen.runs.loading import load
from jaxgen.runs.recorded import read_config
from jaxgen.types import Array, Learner, PyTree

FRESH = ("step", "optimizer_state")  # fields of a state that a new run does not take over


class Start(NamedTuple):
    """Where a run starts.

    Attributes:
      initial_state: key -> state.
      record: what config.json says of it; {} for random weights.
    """

    initial_state: Callable[[Array], PyTree]
    record: dict[str, Any]


def start_of(
    learner: Learner,
    system: str | None,
    state: PyTree | None,
    init_from: str | os.PathLike[str] | None,
    workdir: Path | None,
) -> Start:
    """Random weights, or those of a state, a workdir or a file.

    Args:
      learner: what is to be trained.
      system: its name in `systems`; None for a learner of the user's own.
      state: a state with weights to start from.
      init_from: a workdir or a file with weights to start from.
      workdir: of the run itself. Where it records that it has started from `init_from`, that is
        not read again, and may have changed since.

    Raises:
      UserError: two sources are given, or one that cannot be read or does not fit the learner.
    """
    if state is not None and init_from is not None:
        raise UserError("expected state or init_from to start from, got both: leave one out")
    if init_from is not None:
        source = expanded(init_from).absolute()
        recorded = read_config(workdir) if workdir and (workdir / "config.json").exists() else {}
        if recorded.get("init_from") == str(source):
            record = {name: recorded[name] for name in ("init_from", "initial_weights")}
            return Start(
                lambda key: _started(learner, key, read_state(source, learner, system)), record
            )
        state = read_state(source, learner, system)
        record: dict[str, Any] = {"init_from": str(source)}
    elif state is not None:
        record = {"init_from": None}
    else:
        return Start(learner.init, {})
    _check_same_weights(jax.eval_shape(learner.init, jax.random.key(0)), state)
    record["initial_weights"] = fingerprint(state)
    return Start(lambda key: _started(learner, key, state), record)


def read_state(source: Path, learner: Learner, system: str | None) -> PyTree:
    """The state whose weights a workdir or a file holds.

    Raises:
      UserError: there are no such weights, or they do not fit the learner.
    """
    if source.is_dir():
        # A named system is built as it was trained: this learner's optimizer may be another.
        named = read_config(source).get("system") is not None
        return load(source, learner=None if named else learner).state
    if source.suffix == ".safetensors" and "format" in read_safetensors(source)[1]:
        return interop.load(source)[1]
    state_dicts = interop.read(source)
    if system is None:
        raise UserError(
            f"{printable(source)} holds weights under PyTorch's keys, which only the named systems "
            "have: pass a state (state=...) or a workdir"
        )
    state = learner.init(jax.random.key(0))
    channels = learner.image_shape[-1]
    return interop.load_torch(system, state, state_dicts, image_channels=channels)


def fingerprint(state: PyTree) -> str:
    """Digest of the weights in a state; 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, leaf in _leaves(_weights(state)):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _started(learner: Learner, key: Array, trained: PyTree) -> PyTree:
    """A fresh state with the weights of a trained one."""
    fresh = learner.init(key)
    # Copies: the state of a run is donated, and the one that was given stays usable.
    weights = jax.tree.map(jnp.array, _weights(trained))
    return fresh._replace(**weights) if hasattr(fresh, "_replace") else weights


def _check_same_weights(expected: PyTree, found: PyTree) -> None:
    """Raises UserError for the first leaf in which the weights differ in place, shape or dtype."""
    here, there = (
        {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _leaves(_weights(state))}
        for state in (expected, found)
    )
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            raise UserError(
                f"expected weights of this learner to start from, where {name} is "
                f"{here.get(name, 'absent')}, got {there.get(name, 'absent')}: build the learner "
                "with the sizes they were trained with"
            )


def _weights(state: PyTree) -> PyTree:
    """The fields of a state that a new run takes over; all of a state that has no fields."""
    if not hasattr(state, "_asdict"):
        return state
    return {field: tree for field, tree in state._asdict().items() if field not in FRESH}


def _leaves(tree: PyTree) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
