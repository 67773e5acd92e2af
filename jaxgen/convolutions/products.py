"""The three bilinear products of a convolution, closed under differentiation.

    convolve(g, x, w) -> y     transpose(g, y, w) -> x     correlate(g, x, y) -> w

All three are one trilinear form <y, convolve(x, w)> = <x, transpose(y, w)> = <w, correlate(x, y)>,
each with one of its arguments left out. A product is linear in either factor, so its derivative in
a factor is the product itself, and the transpose of that derivative is another of the three. They
are one JAX primitive, so that forward and reverse mode, of any order and in any combination, stay
among the three and every product takes its fastest form.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgen.convolutions.geometry import Geometry
from jaxgen.convolutions.platforms import on_any, on_cpu

FACTORS = {"convolve": "xw", "transpose": "yw", "correlate": "xy"}
RESULT = {"convolve": "y", "transpose": "x", "correlate": "w"}
_NAME = {result: name for name, result in RESULT.items()}

# For each axis that vmap added, outermost first: whether the first and the second factor have it.
# They are leading axes; the result has all of them.
MappedAxes = tuple[tuple[bool, bool], ...]


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """Convolution: x [N, H, W, cx], w [kh, kw, cx, cy] -> y [N, h, w, cy]."""
    return _product("convolve", g, x, w)


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """Its adjoint in x: y [N, h, w, cy], w [kh, kw, cx, cy] -> x [N, H, W, cx]."""
    return _product("transpose", g, y, w)


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """Its adjoint in w: x [N, H, W, cx], y [N, h, w, cy] -> w [kh, kw, cx, cy]."""
    return _product("correlate", g, x, y)


def _product(name: str, g: Geometry, a: Array, b: Array) -> Array:
    # Read here: when the primitive is lowered, another precision may be set.
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    a, b = _equally_varying(a, b)
    return _primitive.bind(a, b, name=name, geometry=g, mapped=(), precision=precision)


def _equally_varying(a: Array, b: Array) -> tuple[Array, Array]:
    """Both factors, varying over the same mesh axes of a shard_map.

    The transpose of the cast sums the gradient of a shared factor over the devices.
    """
    first, second = (jax.typeof(v).manual_axis_type.varying for v in (a, b))
    if first != second:
        a = lax.pcast(a, tuple(second - first), to="varying") if second - first else a
        b = lax.pcast(b, tuple(first - second), to="varying") if first - second else b
    return a, b


# ---- the primitive


_primitive = Primitive("convolution_product")


@_primitive.def_impl
@partial(jax.jit, static_argnames=("name", "geometry", "mapped", "precision"))
def _run(a: Array, b: Array, **options: Any) -> Array:
    return _primitive.bind(a, b, **options)


def _xla(a: Array, b: Array, *, name: str, geometry: Geometry, mapped: MappedAxes, precision: Any):
    f = partial(on_any, name, geometry)
    for axes in reversed(mapped):
        f = jax.vmap(f, [0 if has_axis else None for has_axis in axes])
    with jax.default_matmul_precision(precision):
        return f(a, b)


def _cpu(a: Array, b: Array, *, name: str, geometry: Geometry, mapped: MappedAxes, precision: Any):
    f = partial(on_cpu, name, geometry)
    for axes in reversed(mapped):
        f = partial(_map, f, axes)
    with jax.default_matmul_precision(precision):
        return f(a, b)


def _map(f, axes: tuple[bool, bool], a: Array, b: Array) -> Array:
    """f over the leading axis of those that have it, one at a time."""
    if all(axes):
        return lax.map(lambda pair: f(*pair), (a, b))
    return lax.map(lambda a: f(a, b), a) if axes[0] else lax.map(lambda b: f(a, b), b)


@_primitive.def_abstract_eval
def _(a: Any, b: Any, **options: Any) -> Any:
    return jax.make_jaxpr(partial(_xla, **options))(a, b).out_avals[0]


mlir.register_lowering(_primitive, mlir.lower_fun(_xla, multiple_results=False))
mlir.register_lowering(_primitive, mlir.lower_fun(_cpu, multiple_results=False), platform="cpu")


# ---- its derivatives


def _cotangent(
    linear: int, cotangent: Array, a: Any, b: Any, *, name: str, mapped: MappedAxes, **options: Any
) -> Array:
    """The cotangent of a factor, 0 or 1: the product of the other factor and the result's."""
    known = FACTORS[name][1 - linear]
    values = {known: (a, b)[1 - linear], RESULT[name]: cotangent}
    has_axis = {known: [axes[1 - linear] for axes in mapped], RESULT[name]: [True] * len(mapped)}
    name = _NAME[FACTORS[name][linear]]
    first, second = FACTORS[name]
    out = _primitive.bind(
        values[first],
        values[second],
        name=name,
        mapped=tuple(zip(has_axis[first], has_axis[second], strict=True)),
        **options,
    )
    shared = tuple(i for i, axes in enumerate(mapped) if not axes[linear])
    return out.sum(shared) if shared else out


ad.defbilinear(_primitive, partial(_cotangent, 0), partial(_cotangent, 1))


# ---- vmap


def _batch(
    factors: tuple[Array, Array],
    dims: tuple[int | None, int | None],
    *,
    name: str,
    mapped: MappedAxes,
    **options: Any,
) -> tuple[Array, int]:
    a, b = factors
    if name != "correlate" and dims[0] is not None and dims[1] is None:
        return _batch_images(a, b, dims[0], name=name, mapped=mapped, **options)
    if dims[0] is not None:
        a = jnp.moveaxis(a, dims[0], 0)
    if dims[1] is not None:
        b = jnp.moveaxis(b, dims[1], 0)
    axes = (dims[0] is not None, dims[1] is not None)
    return _primitive.bind(a, b, name=name, mapped=(axes, *mapped), **options), 0


def _batch_images(
    a: Array, b: Array, dim: int, *, mapped: MappedAxes, **options: Any
) -> tuple[Array, int]:
    """Several batches of images under one kernel are one batch."""
    axis = sum(first for first, _ in mapped)
    a = jnp.moveaxis(a, dim, axis)
    size, num_images = a.shape[axis : axis + 2]
    a = a.reshape(*a.shape[:axis], size * num_images, *a.shape[axis + 2 :])
    out = _primitive.bind(a, b, mapped=mapped, **options)
    axis = len(mapped)
    return out.reshape(*out.shape[:axis], size, num_images, *out.shape[axis + 1 :]), axis


batching.primitive_batchers[_primitive] = _batch
