"""The steps of a `Program` as they are put together."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class UntranslatableError(Exception):
    """A function uses an operation that no step stands for; the message names it."""


class Node(NamedTuple):
    """An array that the page computes: contiguous, row by row."""

    identifier: int
    shape: tuple[int, ...]


class Layout(NamedTuple):
    """Where an operand's elements lie: element i is at offset + Σ_d i_d strides_d."""

    strides: tuple[int, ...]
    offset: int = 0


Value = Node | np.ndarray
Shape = tuple[int, ...]


class Builder:
    """Collects constants and steps, and numbers the arrays.

    Attributes:
      constants: (identifier, array).
      steps: in the order in which they run.
    """

    def __init__(self) -> None:
        self.constants: list[tuple[int, np.ndarray]] = []
        self.steps: list[dict[str, Any]] = []
        self._count = 0

    def new(self, shape: Sequence[int]) -> Node:
        """An array that has no content yet."""
        self._count += 1
        return Node(self._count - 1, tuple(shape))

    def constant(self, value: np.ndarray) -> Node:
        """A known array, in float16 where that loses nothing."""
        if value.dtype.kind == "i":
            value = value.astype(np.int32)
        else:
            with np.errstate(over="ignore"):
                single = np.asarray(value, np.float32)
                half = single.astype(np.float16)
            value = half if np.array_equal(half, single) else single
        node = self.new(value.shape)
        self.constants.append((node.identifier, np.ascontiguousarray(value)))
        return node

    def node(self, value: Value) -> Node:
        """The value itself, or a known one as a constant."""
        return value if isinstance(value, Node) else self.constant(value)

    def step(self, kind: str, operands: Sequence[Node], shape: Shape, **parameters: Any) -> Node:
        """Adds a step that writes a new array of this shape."""
        node = self.new(shape)
        read = [operand.identifier for operand in operands]
        about = {"op": kind, "in": read, "id": node.identifier, "shape": list(shape)}
        self.steps.append(about | parameters)
        return node

    def map(self, function: str, operands: Sequence[Value], shape: Shape) -> Node:
        """An elementwise step over operands that are broadcast to the shape."""
        return self._map(function, [self._broadcast(value, shape) for value in operands], shape)

    def read(self, value: Value, layout: Layout, shape: Shape) -> Node:
        """A copy of what a layout finds in an array."""
        return self._map("copy", [(self.node(value), layout)], shape)

    def moved(self, value: Value, permutation: Sequence[int]) -> Node:
        """The value with its axes in another order; no step where its numbers stand so already."""
        if not isinstance(value, Node):
            return self.constant(np.transpose(value, permutation))
        shape = tuple(value.shape[axis] for axis in permutation)
        wide = [axis for axis in permutation if value.shape[axis] > 1]
        if wide == sorted(wide):
            return Node(value.identifier, shape)
        own = row_major(value.shape)
        return self.read(value, Layout(tuple(own[axis] for axis in permutation)), shape)

    def _map(
        self, function: str, operands: Sequence[tuple[Node, Layout | None]], shape: Shape
    ) -> Node:
        layouts = [None if layout is None else layout._asdict() for _, layout in operands]
        nodes = [node for node, _ in operands]
        return self.step("map", nodes, shape, f=function, layouts=layouts)

    def _broadcast(self, value: Value, shape: Shape) -> tuple[Node, Layout | None]:
        """An operand over `shape`; without a layout it is read from end to end."""
        node = value if isinstance(value, Node) else self.constant(shrunk(value))
        if math.prod(node.shape) == math.prod(shape):
            return node, None
        padded = (1,) * (len(shape) - len(node.shape)) + node.shape
        own = row_major(padded)
        return node, Layout(tuple(s if n > 1 else 0 for s, n in zip(own, padded, strict=True)))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def shrunk(value: np.ndarray) -> np.ndarray:
    """The value with every axis along which it does not change cut to one element."""
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if np.array_equal(np.broadcast_to(first, value.shape), value):
            value = first
    return value
