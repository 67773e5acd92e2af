"""Gradient transformations that optax lacks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.types import Array, PyTree


def with_extra_arguments(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    """The optimizer as one that takes value, grad and value_fn, whether it uses them or not.

    Raises:
      UserError: if it is not an optax gradient transformation.
    """
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        raise UserError(
            f"expected an optax gradient transformation, got {type(optimizer).__name__}: pass one "
            "such as optax.adam(1e-3)"
        )
    return optax.with_extra_args_support(optimizer)


def clip_weights(max_abs: ArrayLike) -> optax.GradientTransformation:
    """Keeps every parameter within ±max_abs: the last transformation of a chain.

        update ← clip(params + update, −max_abs, max_abs) − params

    so that `optax.apply_updates` lands inside the bound. It does in floating point, too: the
    difference above is rounded, and adding it to a parameter far outside the bound may overshoot;
    such an update is moved by one unit in its last place, and where that is too coarse the
    parameter becomes 0. The bound itself is the largest number of the parameter's dtype that does
    not exceed `max_abs`. A NaN stays a NaN; leaves that are not floating pass unchanged.

    Example:
      >>> optimizer = optax.chain(optax.rmsprop(5e-5), clip_weights(0.01))

    Args:
      max_abs: the bound, a positive number; it may be traced.

    Returns:
      A transformation without state, whose `update` needs `params`.

    Raises:
      UserError: where max_abs is not a positive number; from `update`, where params are missing.

    References:
      Arjovsky, Chintala and Bottou, Wasserstein GAN, algorithm 1, arXiv:1701.07875.
    """
    _checks.positive("max_abs", max_abs)

    def clip(update: Array | None, param: Array) -> Array | None:
        if update is None or not jnp.issubdtype(param.dtype, jnp.floating):
            return update
        bound = _bound(max_abs, param.dtype)
        dtype = jnp.result_type(param, update)
        clipped = jnp.clip(param + update, -bound, bound)
        update = _rounded(clipped - param, dtype)
        landed = (param + update).astype(param.dtype)
        inward = jnp.nextafter(update, jnp.where(landed > 0, -jnp.inf, jnp.inf).astype(dtype))
        update = jnp.where(jnp.abs(landed) > bound, inward, update)
        landed = (param + update).astype(param.dtype)
        return jnp.where(jnp.abs(landed) > bound, -param, update)

    def update(
        updates: PyTree, state: optax.OptState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.OptState]:
        if params is None:
            raise UserError(
                "expected clip_weights to be given the parameters, got none: call "
                "update(grads, state, params)"
            )
        return jax.tree.map(clip, updates, params, is_leaf=lambda leaf: leaf is None), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def share_on_bound(params: PyTree, max_abs: ArrayLike) -> Array:
    """The share of all parameters at ±max_abs or beyond, where `clip_weights` has moved them.

    Near 1, the critic of a WGAN is one of a few extreme functions, whose estimate depends little on
    the distance of the distributions (Gulrajani et al., arXiv:1704.00028, figure 1).
    """
    leaves = jax.tree.leaves(params)
    # clip_weights may fall short of the bound by a unit in the last place of where a weight was.
    on_bound = [
        jnp.sum(jnp.abs(leaf) >= max_abs * (1 - max(1e-4, 2 * float(jnp.finfo(leaf.dtype).eps))))
        for leaf in leaves
    ]
    return sum(on_bound, start=jnp.zeros((), jnp.int32)) / max(sum(leaf.size for leaf in leaves), 1)


def _bound(max_abs: Any, dtype: np.dtype) -> Any:
    """The largest number of a dtype that does not exceed max_abs."""
    if _checks.is_traced(max_abs):
        bound = max_abs.astype(dtype)
        return jnp.where(bound > max_abs, jnp.nextafter(bound, jnp.zeros_like(bound)), bound)
    bound = np.asarray(max_abs).astype(dtype)
    return np.nextafter(bound, np.zeros_like(bound)) if float(bound) > float(max_abs) else bound


def _rounded(x: Array, dtype: np.dtype) -> Array:
    """`x` as a number of `dtype` even where XLA would carry the excess precision of a wider one."""
    info = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x.astype(dtype), info.nexp, info.nmant)
