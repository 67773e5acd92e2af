"""The definition, by the convolution of oneDNN, which the wheels of jaxlib carry but leave unused.

Its kernels read the image where it lies and keep a block of the output in registers: no patch is
ever written. It is the library that PyTorch's convolutions on a CPU come from.

XLA compiles a call of the target `__onednn$convolution` to it, and calls it on nobody's behalf by
itself. How a convolution is described to the target is XLA's own affair and has changed before; a
wrong description can end the process. A program with such a call is compiled anew in every
process: it cannot be kept. So it is for who asks, by JAXGEN_ONEDNN=1 in the environment before the
first convolution, with the versions of jaxlib that it was tested with, and where a first
convolution comes out right. Everywhere else, and in programs to be exported, which have to run
elsewhere, the other forms do the work. There is no such target for the gradient in the weights.
"""

import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
from jax import Array, core, lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from jaxgen.convolutions.geometry import Geometry, Pair
from jaxgen.convolutions.phases import join, split_kernel
from jaxgen.errors import UserError

VARIABLE = "JAXGEN_ONEDNN"
TESTED = ("0.10.2",)  # versions of jaxlib
TARGET = "__onednn$convolution"
LAYOUT = ("NHWC", "HWIO", "NHWC")
LANES = 16  # features a register of AVX-512 holds
Pads = tuple[Pair, Pair]


def applies(dtype: Any) -> bool:
    """Whether it was asked for, can be had, and takes this dtype."""
    return dtype == jnp.float32 and wanted() and available()


def wanted() -> bool:
    """Whether the environment asks for it.

    Raises:
      UserError: for a value of JAXGEN_ONEDNN that is neither 0 nor 1.
    """
    value = os.environ.get(VARIABLE, "0")
    if value not in ("", "0", "1"):
        raise UserError(f"expected {VARIABLE} to be 0 or 1, got {value!r}")
    return value == "1"


@cache
def available() -> bool:
    """Whether this jaxlib computes a first convolution by the target, and rightly.

    Warns once where it does not.
    """
    reason = _hindrance()
    if reason:
        warnings.warn(f"{VARIABLE}=1 has no effect: {reason}", stacklevel=2)
    return reason is None


def _hindrance() -> str | None:
    version = jaxlib.version.__version__
    if version not in TESTED:
        return f"expected jaxlib in one of the versions {', '.join(TESTED)}, got {version}"
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"expected Linux on x86-64, got {sys.platform} on {platform.machine()}"
    x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3)
    w = np.arange(3 * 2 * 3 * 4, dtype=np.float32).reshape(3, 2, 3, 4)
    options = {"strides": (2, 1), "padding": ((1, 0), (0, 1))}
    try:
        with jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]):
            ours = jax.jit(partial(_convolution.bind, **options))(x, w)
            right = jax.jit(partial(_by_xla, **options))(x, w)
            same = bool(jnp.array_equal(ours, right))  # integers below 2**24 are exact
    except RuntimeError as error:  # no CPU, or no such target in this build
        return str(error).splitlines()[0]
    return None if same else "a first convolution came out wrong"


_convolution = Primitive("onednn_convolution")


def _by_xla(x: Array, w: Array, *, strides: Pair, padding: Pads) -> Array:
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=LAYOUT)


@_convolution.def_abstract_eval
def _(x, w, **options):
    y = jax.eval_shape(
        partial(_by_xla, **options), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w))
    )
    return core.ShapedArray(y.shape, y.dtype)


def _lower(ctx: Any, x: Any, w: Any, *, strides: Pair, padding: Pads) -> Any:
    if ctx.module_context.lowering_parameters.for_export:
        options = {"strides": strides, "padding": padding}
        return mlir.lower_fun(partial(_by_xla, **options), multiple_results=False)(ctx, x, w)
    config = _description(ctx.avals_in[1].shape[:2], strides, padding)
    rule = jax.ffi.ffi_lowering(TARGET, api_version=2, backend_config=json.dumps(config))
    return rule(ctx, x, w)


mlir.register_lowering(_convolution, _lower)


def _description(taps: Sequence[int], strides: Pair, padding: Pads) -> dict[str, Any]:
    """XLA's OneDnnConvolutionConfig: which axis means what, and the window."""
    images = {"dims": 4, "data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    axes = {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}
    window = {
        "size": list(taps),
        "pad_left": [before for before, _ in padding],
        "pad_right": [after for _, after in padding],
        "strides": list(strides),
        "window_dilations": [1, 1],
    }
    return {
        "onednn_conv_config": {
            "dims": 4,
            "feature_groups": 1,
            "input": images,
            "kernel": {"dims": 4, "filter": axes},
            "output": images,
            "window": window,
        }
    }


def convolve(g: Geometry, x: Array, w: Array) -> Array:
    """As it is defined."""
    return _convolution.bind(x, w, strides=g.strides, padding=g.padding)


def transpose(g: Geometry, y: Array, w: Array) -> Array:
    """By phases, as a convolution of stride 1 with the kernel turned round."""
    padding, lead = _cut(g)
    w = split_kernel(g, w)[::-1, ::-1].swapaxes(2, 3)
    x = _convolution.bind(y, w, strides=(1, 1), padding=padding)
    return join(g._replace(padding=lead), x)


def _cut(g: Geometry) -> tuple[Pads, Pads]:
    """Zeros around the grid that leave out phases of the image's padding, and what stays of it."""
    padding, lead = [], []
    for axis in (0, 1):
        before, stride, taps = g.lead[axis], g.strides[axis], g.phase_taps[axis]
        first = min(before // stride, taps - 1)
        last = min((before + g.image[axis] - 1) // stride, g.grid[axis] + taps - 2)
        padding.append((taps - 1 - first, max(last + 1 - g.grid[axis], 0)))
        lead.append((before - first * stride, 0))
    return (padding[0], padding[1]), (lead[0], lead[1])
