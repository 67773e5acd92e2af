"""What a backward pass remembers of a forward pass that it otherwise repeats."""

from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from jaxgen.types import Array

_REMEMBERED = "remembered"


def remember(x: Array) -> Array:
    """x itself, which `forget_the_rest` is to keep: few numbers that are dear to compute again."""
    return checkpoint_name(x, _REMEMBERED)


def forget_the_rest(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose backward pass computes anew all that has not been told to `remember`."""
    policy = jax.checkpoint_policies.save_only_these_names(_REMEMBERED)
    return jax.checkpoint(function, policy=policy)
