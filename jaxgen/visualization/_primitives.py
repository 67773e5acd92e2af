"""What each primitive of JAX becomes: a rule (builder, inputs, parameters, out) -> Node.

`inputs` are computed (`Node`) or known (arrays), at least one of them computed; `out` is the shape
of the result.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.visualization._program_builder import (
    Builder,
    Layout,
    Node,
    Shape,
    UntranslatableError,
    Value,
    row_major,
)

Rule = Callable[[Builder, list[Value], dict[str, Any], Shape], Node]

# Steps of the page that are called as JAX calls them.
ELEMENTWISE = {
    "abs", "add", "and", "ceil", "cos", "div", "eq", "erf", "erfc", "exp", "exp2", "expm1",
    "floor", "ge", "gt", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne",
    "neg", "not", "or", "pow", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh",
}  # fmt: skip
RENAMED = {"add_any": "add", "copy": "copy", "name": "copy", "stop_gradient": "copy"}
NOT_OF_INTEGERS = {"div", "pow", "not", "and", "or"}


def rule_of(name: str, of_integers: bool) -> Rule:
    """The function for a primitive.

    Raises:
      UntranslatableError: there is none.
    """
    if of_integers and name in NOT_OF_INTEGERS:
        raise UntranslatableError(f"{name} of integers")
    if name in ELEMENTWISE or name in RENAMED:
        return _elementwise(RENAMED.get(name, name))
    if name not in RULES:
        raise UntranslatableError(name)
    return RULES[name]


def _elementwise(function: str) -> Rule:
    def rule(builder: Builder, inputs: list[Value], parameters: dict[str, Any], out: Shape) -> Node:
        if len(inputs) > 3:
            raise UntranslatableError(f"{function} of {len(inputs)} operands")
        return builder.map(function, inputs, out)

    return rule


def _integer_pow(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    return builder.map("pow", [inputs[0], np.array(parameters["y"], np.float32)], out)


def _clamp(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    low, x, high = inputs
    return builder.map("min", [builder.map("max", [low, x], out), high], out)


def _convert_element_type(
    builder: Builder, inputs: list[Value], parameters: Any, out: Shape
) -> Node:
    to_integers = jnp.issubdtype(parameters["new_dtype"], jnp.integer)
    return builder.map("trunc" if to_integers else "copy", inputs, out)


# Structure: reading or writing with strides.


def _reshape(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    return Node(builder.node(inputs[0]).identifier, out)


def _broadcast_in_dim(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    node = builder.node(inputs[0])
    if math.prod(out) == math.prod(node.shape):
        return Node(node.identifier, out)
    own, strides = row_major(node.shape), [0] * len(out)
    for axis, target in enumerate(parameters["broadcast_dimensions"]):
        strides[target] = own[axis] if node.shape[axis] > 1 else 0
    return builder.read(node, Layout(tuple(strides)), out)


def _transpose(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    return builder.moved(inputs[0], parameters["permutation"])


def _rev(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    own, turned = row_major(out), parameters["dimensions"]
    strides = tuple(-s if axis in turned else s for axis, s in enumerate(own))
    offset = sum((out[axis] - 1) * own[axis] for axis in turned)
    return builder.read(inputs[0], Layout(strides, offset), out)


def _slice(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    own, starts = row_major(inputs[0].shape), parameters["start_indices"]
    steps = parameters["strides"] or (1,) * len(own)
    strides = tuple(s * step for s, step in zip(own, steps, strict=True))
    offset = sum(s * start for s, start in zip(own, starts, strict=True))
    return builder.read(inputs[0], Layout(strides, offset), out)


def _pad(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    value, fill = inputs
    if isinstance(fill, Node):
        raise UntranslatableError("pad with a computed number")
    own, kept, starts, strides, offset = row_major(out), [], [], [], 0
    for axis, edges in enumerate(parameters["padding_config"]):
        low, high, interior = map(int, edges)  # NumPy's integers are none of JSON's
        if (low < 0 or high < 0) and interior:
            raise UntranslatableError("pad with holes that cuts edges away")
        starts.append(max(0, -low))
        kept.append(value.shape[axis] - max(0, -low) - max(0, -high))
        strides.append(own[axis] * (interior + 1))
        offset += own[axis] * max(0, low)
    if tuple(kept) != value.shape:
        cut = {"start_indices": starts, "strides": None}
        value = _slice(builder, [value], cut, tuple(kept))
    part = {"shape": kept, "strides": strides, "offset": offset}
    return builder.step("place", [builder.node(value)], out, fill=float(fill), parts=[part])


def _concatenate(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    axis, own, start, parts = parameters["dimension"], row_major(out), 0, []
    for value in inputs:
        parts.append({"shape": value.shape, "strides": own, "offset": start * own[axis]})
        start += value.shape[axis]
    return builder.step("place", [builder.node(v) for v in inputs], out, fill=0.0, parts=parts)


def _gather(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    value, indices = inputs
    if isinstance(indices, Node) or not isinstance(value, Node):
        raise UntranslatableError("gather by a computed index")
    numbers = jnp.arange(math.prod(value.shape), dtype=jnp.int32).reshape(value.shape)
    picked = jax.lax.gather_p.bind(numbers, jnp.asarray(indices), **parameters)
    index = builder.constant(np.asarray(picked, np.int32))
    return builder.step("take", [value, index], out)


# Sums over axes.


def _reduction(function: str) -> Rule:
    def rule(builder: Builder, inputs: list[Value], parameters: dict[str, Any], out: Shape) -> Node:
        (value,), axes = inputs, parameters["axes"]
        kept = [axis for axis in range(len(value.shape)) if axis not in axes]
        inner = math.prod(value.shape[axis] for axis in axes)
        node = builder.moved(value, [*kept, *axes])
        return builder.step("reduce", [node], out, f=function, rows=math.prod(out), inner=inner)

    return rule


def _dot_general(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    contracted, batch = parameters["dimension_numbers"]

    def size(side: int, axes: Sequence[int]) -> int:
        return math.prod(inputs[side].shape[axis] for axis in axes)

    operands, free = [], []
    for side, value in enumerate(inputs):
        bound = {*contracted[side], *batch[side]}
        free.append([axis for axis in range(len(value.shape)) if axis not in bound])
        inner = [*free[0], *contracted[0]] if side == 0 else [*contracted[1], *free[1]]
        operands.append(builder.moved(value, [*batch[side], *inner]))
    sizes = {"batch": size(0, batch[0]), "rows": size(0, free[0]), "columns": size(1, free[1])}
    return builder.step("dot", operands, out, inner=size(0, contracted[0]), **sizes)


def _convolution(builder: Builder, inputs: list[Value], parameters: Any, out: Shape) -> Node:
    value, kernel = inputs
    if len(out) != 4 or isinstance(kernel, Node) or parameters["batch_group_count"] != 1:
        raise UntranslatableError("a convolution other than of images by constant weights")
    numbers = parameters["dimension_numbers"]
    batch, channels, *space = numbers.lhs_spec
    image = builder.moved(value, [batch, *space, channels])
    features, channels, *space = numbers.rhs_spec
    weights = builder.moved(kernel, [*space, channels, features])
    batch, channels, *space = numbers.out_spec
    axes = [batch, *space, channels]
    shape = tuple(out[axis] for axis in axes)
    result = builder.step(
        "conv",
        [image, weights],
        shape,
        image=image.shape,
        kernel=weights.shape,
        out=shape,
        strides=parameters["window_strides"],
        padding=parameters["padding"],
        image_dilation=parameters["lhs_dilation"],
        kernel_dilation=parameters["rhs_dilation"],
        groups=parameters["feature_group_count"],
    )
    return builder.moved(result, np.argsort(axes).tolist())


RULES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _convert_element_type,
    "dot_general": _dot_general,
    "expand_dims": _reshape,
    "gather": _gather,
    "integer_pow": _integer_pow,
    "pad": _pad,
    "reduce_max": _reduction("max"),
    "reduce_min": _reduction("min"),
    "reduce_sum": _reduction("sum"),
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "squeeze": _reshape,
    "transpose": _transpose,
}
