"""linen modules as pure functions of their variables.

A module is called as module(x, train=train), with labels=labels where the model is conditional. Its
variables are what `init` gives: "params", and any other collections, which a call in training mode
may change. "intermediates" are dropped.
"""

from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.models.precision import Precision, restored, rounded
from jaxgen.types import Array, Labels, PyTree

DROPPED = "intermediates"


def init(module: nn.Module, key: Array, *inputs: Array, **keywords: Any) -> tuple[Any, PyTree]:
    """The output and the variables of a module's first call."""
    output, variables = module.init_with_output(key, *inputs, **keywords)
    kept = {name: tree for name, tree in variables.items() if name != DROPPED}
    return output, {"params": {}} | kept


def apply(
    module: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    train: bool,
    labels: Array | None = None,
    key: Array | None = None,
    precision: Precision = "float32",
) -> tuple[Any, PyTree]:
    """The output of a module and its collections after the call.

    Args:
      module: linen module.
      variables: its own.
      x: the input.
      train: whether collections may change.
      labels: int32 [B] where the model is conditional.
      key: for dropout and every other stream of random numbers that the module names.
      precision: that the module computes in.

    Raises:
      UserError: if the module needs random numbers where there is no key.
    """
    keywords: dict[str, Any] = {"train": train}
    if labels is not None:
        keywords["labels"] = labels
    # linen takes a stream that is not named here from "params".
    rngs = None if key is None else {"params": key}
    collections = collections_of(variables)
    mutable = [*collections] if train else False
    if precision == "bfloat16":
        variables, x = variables | {"params": rounded(variables["params"])}, rounded(x)
    try:
        result = module.apply(variables, x, rngs=rngs, mutable=mutable, **keywords)
    except flax.errors.InvalidRngError as error:
        raise UserError(
            f"expected {type(module).__name__} to be deterministic with train=False, but it asks "
            f"for random numbers ({error}): pass deterministic=not train to its random layers"
        ) from error
    output, changed = result if train else (result, {})
    if precision == "bfloat16":
        output, changed = restored((output, dict(changed)))
    return output, collections | dict(changed)


def dtype_of(variables: PyTree) -> Any:
    """The dtype of the parameters, which random latents take; JAX's default without any."""
    leaves = jax.tree.leaves(variables["params"])
    return leaves[0].dtype if leaves else jnp.zeros(()).dtype


def collections_of(variables: PyTree) -> PyTree:
    """The variables without the parameters."""
    return {name: tree for name, tree in variables.items() if name != "params"}


def of_part(variables: PyTree, name: str) -> PyTree:
    """The variables of one submodule."""
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}


def joined(parts: dict[str, PyTree]) -> PyTree:
    """The collections of a module from those of its submodules."""
    kinds = {kind for collections in parts.values() for kind in collections}
    return {
        kind: {name: tree[kind] for name, tree in parts.items() if kind in tree}
        for kind in sorted(kinds)
    }


def with_constant_params(variables: PyTree) -> PyTree:
    """The variables, without a gradient in the parameters."""
    return variables | {"params": jax.lax.stop_gradient(variables["params"])}


def checked_labels(labels: Labels, num_classes: int) -> Array | None:
    """The labels, where the model is conditional.

    Raises:
      UserError: if they are missing, or given to a model that is not conditional.
    """
    if num_classes and labels is None:
        raise UserError("expected labels, int32 [N], got none: this system is conditional")
    if labels is not None and not num_classes:
        raise UserError("expected no labels: this system is not conditional, leave them out")
    return None if labels is None else jnp.asarray(labels)


def check_shape(what: str, value: Any, expected: tuple[int, ...], remedy: str) -> None:
    """Raises UserError unless the output of a module, for one image, has the expected shape."""
    found = value.shape if hasattr(value, "shape") else type(value).__name__
    if found != (1, *expected):
        shapes = [
            f"[{', '.join(map(str, ('N', *shape)))}]" if isinstance(shape, tuple) else shape
            for shape in (expected, found[1:] if isinstance(found, tuple) else found)
        ]
        if isinstance(found, tuple) and found[:1] != (1,):
            shapes[1] = f"{list(found)} for one of them"
        raise UserError(f"expected {what} of shape {shapes[0]}, got {shapes[1]}: {remedy}")
