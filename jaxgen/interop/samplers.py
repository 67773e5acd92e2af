"""Trained weights with the configuration of their model, as one safetensors file."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import systems
from jaxgen._files import expanded
from jaxgen.errors import UserError
from jaxgen.interop.matching import shortened
from jaxgen.interop.state_files import read_safetensors, write_whole
from jaxgen.types import Learner, Model, PyTree

FORMAT = "jaxgen sampler 2"
# What a learner's state holds beside the weights; loaded states have these as `init` makes them.
NOT_WEIGHTS = ("step", "optimizer_state")

System = str | Callable[..., Learner] | Learner | Model


def save(path: str | Path, system: System, state: PyTree, **hyperparameters: Any) -> None:
    """Saves the weights of a state as safetensors, with the configuration as metadata.

    The optimizer's state is not saved. Arrays are named by their path, "params/encoder/mean/bias";
    the metadata are `format`, `system` (empty for a learner of your own) and `hyperparameters`
    (JSON).

    Args:
      path: a .safetensors file, written complete or not at all.
      system: name or function of any system of `systems`, or a learner or model of your own.
      state: of its learner; for a model, its variables.
      **hyperparameters: the keyword arguments that the learner of a system was built with; for a
        learner or model of your own any description of it.

    Raises:
      UserError: the state is not of that system with these keyword arguments, one of them cannot
        be written as JSON, or the file cannot be written.
    """
    import safetensors.numpy

    path = expanded(path)
    if path.suffix.lower() != ".safetensors":
        raise UserError(f"expected a file that ends in .safetensors, got {path}: rename it")
    name, learner = build(system, hyperparameters)
    check_state(name, learner, state)
    configuration = as_json(hyperparameters)
    metadata = {"format": FORMAT, "system": name, "hyperparameters": configuration}
    arrays = {key: np.asarray(leaf) for key, leaf in _weights(state).items()}
    write_whole(path, safetensors.numpy.save(arrays, metadata))


def load(path: str | Path, learner: Learner | Model | None = None) -> tuple[Any, PyTree]:
    """The learner and state of a file that `save` wrote, with a fresh optimizer state.

    Args:
      path: the file.
      learner: the learner or model that the weights are for; needed where `save` was given one of
        your own, as such a file does not say how to build it.

    Returns:
      (learner, state); (model, variables) for a model.

    Raises:
      UserError: the file is missing, damaged, not one of `save`, or of another learner; or it
        needs `learner`.
    """
    name, state, hyperparameters = open_sampler(expanded(path), learner)
    return learner or build(name, hyperparameters)[1], state


def open_sampler(
    path: Path, learner: Learner | Model | None = None
) -> tuple[str, PyTree, dict[str, Any]]:
    """System, state and hyperparameters of a file that `save` wrote; raises as `load` does."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"expected weights saved by this version of jaxgen in {path}, found other safetensors: "
            "weights under PyTorch's keys are for interop.read and interop.load_torch"
        )
    name, hyperparameters = _configuration(path, metadata)
    if learner is None:
        if not name:
            raise UserError(
                f"{path} holds the weights of a learner that is not one of jaxgen.systems: pass "
                "it, interop.load(path, learner=...)"
            )
        learner = _rebuilt(path, name, hyperparameters)
    difference = first_difference(_weights(_abstract_state(learner)), arrays)
    if difference:
        raise UserError(
            f"cannot use {path}: {difference}; it was saved for another learner or by another "
            "version of jaxgen"
        )
    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise UserError(
            f"expected finite weights in {path}, found NaN or infinite values in "
            f"{shortened(broken)}: use weights from before the training diverged"
        )

    def replaced(keys: Any, leaf: Any) -> Any:
        array = arrays.get(_name(keys))
        return leaf if array is None else jnp.asarray(array)

    state = learner.init(jax.random.key(0))
    return name, jax.tree_util.tree_map_with_path(replaced, state), hyperparameters


def build(system: System, hyperparameters: Mapping[str, Any]) -> tuple[str, Learner | Model]:
    """The name and learner of a system given by name or as the function; "" for one of your own.

    Raises:
      UserError: there is no such system, or it has no such keyword argument.
    """
    if isinstance(system, Learner | Model):
        return "", system
    name = system if isinstance(system, str) else getattr(system, "__name__", repr(system))
    if name not in systems.__all__:
        raise UserError(
            f"expected a learner, a model or one of {', '.join(systems.__all__)}, got {name!r}: "
            "choose one of them"
        )
    function = getattr(systems, name)
    unknown = hyperparameters.keys() - inspect.signature(function).parameters.keys()
    if unknown:
        raise UserError(
            f"expected keyword arguments of {name}, got {', '.join(sorted(unknown))}: "
            "leave them out"
        )
    return name, function(**hyperparameters)


def check_state(name: str, learner: Learner | Model, state: PyTree) -> None:
    """Raises UserError unless the state has the arrays of the learner."""
    difference = first_difference(_weights(_abstract_state(learner)), _weights(state))
    if difference:
        of = f"of {name} with these hyperparameters" if name else "of this learner"
        remedy = "the keyword arguments that its learner was built with" if name else "its learner"
        raise UserError(f"expected the state {of}: {difference}; pass {remedy}")


def first_difference(expected: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """The first array, by name, that is missing, unexpected or of another shape or dtype."""
    described = [
        {key: f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for key, leaf in arrays.items()}
        for arrays in (expected, given)
    ]
    for key in sorted(expected.keys() | given.keys()):
        wanted, found = (arrays.get(key, "absent") for arrays in described)
        if wanted != found:
            return f"{key} is expected to be {wanted} and is {found}"
    return None


def as_json(hyperparameters: Mapping[str, Any]) -> str:
    """The hyperparameters as JSON.

    Raises:
      UserError: one of them cannot be written as JSON.
    """
    try:
        return json.dumps(hyperparameters)
    except TypeError as error:
        raise UserError(
            f"expected hyperparameters that can be written as JSON ({error}): leave out functions "
            "such as schedules, which are not used for sampling"
        ) from None


def with_tuples(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, as JSON has them, as the tuples that the systems take."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()}


def _configuration(path: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    try:
        return metadata["system"], with_tuples(json.loads(metadata["hyperparameters"]))
    except (KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"cannot use {path}: its metadata are damaged ({type(error).__name__}); fetch or make "
            "it again"
        ) from error


def _rebuilt(path: Path, name: str, hyperparameters: Mapping[str, Any]) -> Learner | Model:
    """The learner that a file describes."""
    try:
        learner = build(name, hyperparameters)[1]
        _abstract_state(learner)
    except UserError as error:
        raise UserError(f"cannot use {path}: {error}") from error
    except Exception as error:  # values of wrong types fail anywhere in the networks
        raise UserError(
            f"cannot use {path}: {name} cannot be built with its hyperparameters "
            f"({type(error).__name__}); fetch or make it again"
        ) from error
    return learner


def _abstract_state(learner: Learner | Model) -> PyTree:
    return jax.eval_shape(learner.init, jax.random.key(0))


def _weights(state: PyTree) -> dict[str, Any]:
    """name -> array, without the optimizer's state."""
    named = jax.tree_util.tree_leaves_with_path(state)
    weights = {_name(keys): leaf for keys, leaf in named}
    return {key: leaf for key, leaf in weights.items() if key.split("/")[0] not in NOT_WEIGHTS}


def _name(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
