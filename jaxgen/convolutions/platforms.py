"""How each platform computes the three products: CPU by the form of least cost, others by XLA.

On CPU, XLA's own convolutions for the two gradients can be a hundred times slower than its matrix
products, so the forms there are built from matrix products. On accelerators the vendors' libraries
have kernels for the three products: forward, backward data and backward filter.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, core

from jaxgen.convolutions.choice import choose
from jaxgen.convolutions.geometry import Geometry, convolution


def _xla_convolve(g: Geometry, x: Array, w: Array) -> Array:
    return convolution(x, w, g.strides, g.padding)


def _xla_transpose(g: Geometry, y: Array, w: Array) -> Array:
    x = _like(y, (y.shape[0], *g.image, w.shape[2]))
    return jax.linear_transpose(lambda x: _xla_convolve(g, x, w), x)(y)[0]


def _xla_correlate(g: Geometry, x: Array, y: Array) -> Array:
    w = _like(y, (*g.kernel, x.shape[3], y.shape[3]))
    return jax.linear_transpose(lambda w: _xla_convolve(g, x, w), w)(y)[0]


def _like(y: Array, shape: tuple[int, ...]) -> core.ShapedArray:
    """The type of y with another shape. A shard_map's types also hold which devices differ."""
    return jax.typeof(y).update(shape=shape)


_XLA = {"convolve": _xla_convolve, "transpose": _xla_transpose, "correlate": _xla_correlate}


@partial(jax.jit, static_argnums=(0, 1))
def on_any(name: str, g: Geometry, a: Array, b: Array) -> Array:
    """By XLA's own convolution and its transposes."""
    return _XLA[name](g, a, b)


@partial(jax.jit, static_argnums=(0, 1))
def on_cpu(name: str, g: Geometry, a: Array, b: Array) -> Array:
    """By the form of least cost, in at least float32."""
    if not isinstance(a.shape[0], int):  # exported for any batch size: chunks need a number
        return _XLA[name](g, a, b)
    wide = jnp.promote_types(a.dtype, jnp.float32)
    cx = b.shape[2] if name != "correlate" else a.shape[3]
    form = getattr(choose(name, g, a.shape[0], cx, b.shape[3], wide), name)
    return form(g, a.astype(wide), b.astype(wide)).astype(a.dtype)
