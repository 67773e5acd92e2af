"""Rematerialization: which intermediate values a backward pass keeps and which it recomputes."""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from jaxgen.types import Array

_SAVED = "saved_for_backward"


def save_for_backward(x: Array) -> Array:
    """Returns x, marked so that `recompute_unsaved` keeps it instead of recomputing it."""
    return checkpoint_name(x, _SAVED)


def recompute_unsaved(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a backward pass that recomputes all but `save_for_backward` values."""
    policy = jax.checkpoint_policies.save_only_these_names(_SAVED)
    return jax.checkpoint(function, policy=policy)
