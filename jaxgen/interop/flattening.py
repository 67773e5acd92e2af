"""Nested state dicts as one dict of dotted keys, and their entries as NumPy arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgen.errors import UserError

StateDicts = Mapping[str, Any]


def flatten(state_dicts: StateDicts, prefix: str = "") -> dict[str, Any]:
    """One dict of dotted keys: {"critic": {"1.weight": x}} -> {"critic.1.weight": x}.

    A torch.nn.Module in place of a state dict stands for its state dict.
    """
    flat = {}
    for key, value in plain(state_dicts).items():
        value = plain(value)
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plain(value: Any) -> Any:
    """The state dict of what has one, a module or an optimizer; everything else unchanged."""
    return value.state_dict() if callable(getattr(value, "state_dict", None)) else value


def is_array(value: Any) -> bool:
    """Whether a value is an array or a tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def as_array(key: str, value: Any) -> np.ndarray:
    """An array or tensor as a NumPy array.

    Raises:
      UserError: it is neither, or holds no numbers.
    """
    if hasattr(value, "detach"):  # a tensor, possibly on another device
        value = value.detach().cpu()
        # NumPy has no bfloat16, which float32 holds exactly.
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = np.asarray(value)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype.name == "bfloat16"):
        raise UserError(
            f"expected {key} to be an array or tensor of numbers, got {type(value).__name__}: "
            "pass what state_dict() returns"
        )
    return array
