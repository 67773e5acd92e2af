"""The three bilinear computations of a convolution, closed under differentiation.

    convolve(g, x, w) -> y     transpose(g, y, w) -> x     correlate(g, x, y) -> w

All three are one trilinear form <y, convolve(x, w)> = <x, transpose(y, w)> = <w, correlate(x, y)>,
each with one of its arguments left out. The gradient of any of them is therefore the other two,
and reverse-mode differentiation of any order stays among the three.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from jaxgen.convolutions.choice import choose
from jaxgen.convolutions.geometry import Geometry, convolution

# On CPU, XLA's own forms of the two gradients can be a hundred times slower than its product of
# matrices; the choice is among forms made of those. Elsewhere vendors' libraries have kernels for
# exactly these three: forward, backward data, backward filter.


def _xla_convolve(g: Geometry, x: Array, w: Array) -> Array:
    return convolution(x, w, g.strides, g.padding)


def _xla_transpose(g: Geometry, y: Array, w: Array) -> Array:
    x = jax.ShapeDtypeStruct((y.shape[0], *g.image, w.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _xla_convolve(g, x, w), x)(y)[0]


def _xla_correlate(g: Geometry, x: Array, y: Array) -> Array:
    w = jax.ShapeDtypeStruct((*g.kernel, x.shape[3], y.shape[3]), y.dtype)
    return jax.linear_transpose(lambda w: _xla_convolve(g, x, w), w)(y)[0]


_XLA = {"convolve": _xla_convolve, "transpose": _xla_transpose, "correlate": _xla_correlate}


def _on_cpu(name: str, g: Geometry, a: Array, b: Array) -> Array:
    """The CPU's form in at least float32, and one member at a time under vmap."""

    @custom_vmap
    def run(a, b):
        wide = jnp.promote_types(a.dtype, jnp.float32)
        cx = b.shape[2] if name != "correlate" else a.shape[3]
        form = getattr(choose(name, g, a.shape[0], cx, b.shape[3], wide), name)
        return form(g, a.astype(wide), b.astype(wide)).astype(a.dtype)

    @run.def_vmap
    def rule(axis_size, batched, a, b):
        if name != "correlate" and batched == [True, False]:  # more images under one kernel
            out = run(a.reshape(-1, *a.shape[2:]), b)
            return out.reshape(axis_size, -1, *out.shape[1:]), True
        members = [v for v, is_batched in zip((a, b), batched, strict=True) if is_batched]

        def one(members):
            left = iter(members)
            return run(*(next(left) if m else v for v, m in zip((a, b), batched, strict=True)))

        return lax.map(one, members), True

    return run(a, b)


@partial(jax.jit, static_argnums=(0, 1))
def _run(name: str, g: Geometry, a: Array, b: Array) -> Array:
    if not isinstance(a.shape[0], int):  # exported for any batch size: no chunks to cut
        return _XLA[name](g, a, b)
    return lax.platform_dependent(
        a, b, cpu=partial(_on_cpu, name, g), default=partial(_XLA[name], g)
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """Convolution: x [N, H, W, cx], w [kh, kw, cx, cy] -> y [N, h, w, cy]."""
    return _run("convolve", g, x, w)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """Its adjoint in x: y [N, h, w, cy], w [kh, kw, cx, cy] -> x [N, H, W, cx]."""
    return _run("transpose", g, y, w)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """Its adjoint in w: x [N, H, W, cx], y [N, h, w, cy] -> w [kh, kw, cx, cy]."""
    return _run("correlate", g, x, y)


convolve.defvjp(
    lambda g, x, w: (convolve(g, x, w), (x, w)),
    lambda g, saved, y: (transpose(g, y, saved[1]), correlate(g, saved[0], y)),
)
transpose.defvjp(
    lambda g, y, w: (transpose(g, y, w), (y, w)),
    lambda g, saved, x: (convolve(g, x, saved[1]), correlate(g, x, saved[0])),
)
correlate.defvjp(
    lambda g, x, y: (correlate(g, x, y), (x, y)),
    lambda g, saved, w: (transpose(g, saved[1], w), convolve(g, saved[0], w)),
)
