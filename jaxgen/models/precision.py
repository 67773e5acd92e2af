"""The precision that networks compute in; everything around them stays as it is.

In "bfloat16" a network's input and parameters are rounded to bfloat16 (8 bits of precision, the
range of float32) for each call, once for all its layers. Its output becomes float32 again, so that
latents, likelihoods, losses, gradients of the parameters, the optimizer and the running statistics
of BatchNorm are float32.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.types import PyTree

Precision = Literal["float32", "bfloat16"]


def check_precision(precision: Precision) -> None:
    """Raises UserError unless it is a `Precision`."""
    _checks.one_of("precision", precision, get_args(Precision))


def rounded(arrays: PyTree) -> PyTree:
    """The floats among some arrays as bfloat16."""

    def rounded_one(x: Any) -> Any:
        return x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(rounded_one, arrays)


def restored(arrays: PyTree) -> PyTree:
    """Those in bfloat16 as float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, arrays)
