"""Convolution by oneDNN, which the wheels of jaxlib contain and XLA does not use by default.

PyTorch's convolutions on CPU come from the same library. oneDNN's convolution reads the image in
place and keeps a block of the output in registers, so no patches are written. It has no convolution
for the gradient with respect to the kernel, but its matrix product divides the axis that is summed
over among processors, where XLA's divides the few rows and columns of a thin kernel.

XLA compiles custom calls to `__onednn$convolution` and `__onednn$matmul` to oneDNN, but does not
emit them in its default configuration. The format of their options is internal to XLA and has
changed before; an invalid one can abort the process. So this form is used with one version of
jaxlib alone, the last for Python 3.11, and only if a first convolution gives the right result.
Later versions emit such calls themselves where they are asked to: see `compiling`.

XLA's partitioner cannot divide such a call, so it is not used where there are several devices, nor
in exported programs, nor where JAXGEN_ONEDNN=0 is set in the environment. A program with such a
call cannot be stored in the compilation cache.
"""

import json
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
from jax import Array, core
from jax.extend.core import Primitive
from jax.interpreters import mlir

from jaxgen.convolutions import direct
from jaxgen.convolutions.chunks import sum_chunks
from jaxgen.convolutions.geometry import Geometry, Pair, convolution
from jaxgen.convolutions.phases import join, split_kernel
from jaxgen.errors import UserError

VARIABLE = "JAXGEN_ONEDNN"
VERSION = "0.10.2"  # of jaxlib
LANES = 16  # float32 numbers in a register of AVX-512
Pads = tuple[Pair, Pair]


def applies(dtype: Any) -> bool:
    """Whether oneDNN can compute a convolution of this dtype here."""
    return dtype == jnp.float32 and enabled() and jax.device_count() == 1 and available()


def enabled() -> bool:
    """Whether oneDNN may be called: unless JAXGEN_ONEDNN=0 is set in the environment.

    Raises:
      UserError: for a value of JAXGEN_ONEDNN that is neither 0 nor 1.
    """
    value = os.environ.get(VARIABLE, "1")
    if value not in ("", "0", "1"):
        raise UserError(f"expected {VARIABLE} to be 0 or 1, got {value!r}")
    return value != "0"


def is_contained() -> bool:
    """Whether the wheels of jaxlib for this platform contain oneDNN."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def ignore_cache_warnings() -> None:
    """Programs that call oneDNN cannot be kept in the compilation cache; JAX warns about each."""
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")


@cache
def available() -> bool:
    """Whether this is the version, and a first convolution is right. Warns once if it is not."""
    if jaxlib.version.__version__ != VERSION or not is_contained():
        return False
    reason = _wrong()
    if reason:
        warnings.warn(f"convolutions are computed without oneDNN: {reason}", stacklevel=2)
    else:
        ignore_cache_warnings()
    return reason is None


def _wrong() -> str | None:
    """What is wrong with a first convolution, or None."""
    g = Geometry((5, 4), (3, 2), (2, 1), ((1, 0), (0, 1)))
    x, w, y = (
        np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        for shape in ((2, *g.image, 3), (*g.kernel, 3, 4), (2, *g.grid, 4))
    )
    try:
        with jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
            for ours, reference, *arguments in (
                (convolve, direct.convolve, x, w),
                (correlate, direct.correlate, x, y),
            ):
                first, second = (jax.jit(partial(f, g))(*arguments) for f in (ours, reference))
                if not jnp.array_equal(first, second):  # integers below 2**24 are exact
                    return "a first convolution gave a wrong result"
    except RuntimeError as error:  # no CPU, or no such target in this build
        return str(error).splitlines()[0]
    return None


def _primitive(target: str, plain: Callable[..., Array], describe: Callable[..., Any]) -> Primitive:
    """A primitive that calls the target. Exported programs contain `plain` instead."""
    primitive = Primitive(target)

    @primitive.def_abstract_eval
    def _(*given, **options):
        arrays = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in given)
        out = jax.eval_shape(partial(plain, **options), *arrays)
        return core.ShapedArray(out.shape, out.dtype)

    def lower(ctx: Any, *operands: Any, **options: Any) -> Any:
        if ctx.module_context.lowering_parameters.for_export:
            return mlir.lower_fun(partial(plain, **options), multiple_results=False)(ctx, *operands)
        config = json.dumps(describe(*ctx.avals_in, **options))
        return jax.ffi.ffi_lowering(target, api_version=2, backend_config=config)(ctx, *operands)

    mlir.register_lowering(primitive, lower)
    return primitive


def _describe_convolution(x: Any, w: Any, *, strides: Pair, padding: Pads) -> dict[str, Any]:
    """XLA's OneDnnConvolutionConfig: the meaning of each axis, and the window."""
    del x
    images = {"dims": 4, "data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    axes = {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}
    window = {
        "size": w.shape[:2],
        "pad_left": [before for before, _ in padding],
        "pad_right": [after for _, after in padding],
        "strides": strides,
        "window_dilations": [1, 1],
    }
    sides = {"input": images, "kernel": {"dims": 4, "filter": axes}, "output": images}
    return {"onednn_conv_config": {"dims": 4, "feature_groups": 1, "window": window, **sides}}


def _describe_product(a: Any, b: Any) -> dict[str, Any]:
    """XLA's OneDnnMatMulConfig: two matrices in row-major order."""
    del a, b
    matrix = {"dims": 2, "tensor": {"dimensions": [1, 2]}}  # counted from 1
    return {"onednn_matmul_config": {"lhs": matrix, "rhs": matrix, "result": matrix}}


_convolution = _primitive("__onednn$convolution", convolution, _describe_convolution)
_product = _primitive("__onednn$matmul", jnp.matmul, _describe_product)


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """By oneDNN's convolution."""
    return _convolution.bind(x, w, strides=g.strides, padding=g.padding)


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """A convolution of stride 1 with the flipped kernel, over the phases of the image."""
    padding, lead = _cut(g)
    w = split_kernel(g, w)[::-1, ::-1].swapaxes(2, 3)
    x = _convolution.bind(y, w, strides=(1, 1), padding=padding)
    return join(g._replace(padding=lead), x)


def correlate(g: Geometry, x: Array, y: Array) -> Array:
    """`direct.correlate` by oneDNN's matrix product, always with planes."""
    cx, cy = x.shape[3], y.shape[3]
    w = sum_chunks(
        lambda x, y: _product.bind(direct.planes(g, x), y.reshape(-1, cy)),
        direct.chunk(g, x, cx, cy),
        x,
        y,
    )
    return w.reshape(*g.kernel, cx, cy)


def _cut(g: Geometry) -> tuple[Pads, Pads]:
    """Padding of y that skips phases within the image's padding, and the padding that remains."""
    padding, lead = [], []
    for axis in (0, 1):
        before, stride, taps = g.lead[axis], g.strides[axis], g.phase_taps[axis]
        first = min(before // stride, taps - 1)
        last = min((before + g.image[axis] - 1) // stride, g.grid[axis] + taps - 2)
        padding.append((taps - 1 - first, max(last + 1 - g.grid[axis], 0)))
        lead.append((before - first * stride, 0))
    return (padding[0], padding[1]), (lead[0], lead[1])
