"""A JAX function as a short list of array operations that a web page can run.

`translate` traces the function. What does not depend on its arguments is evaluated, so weights,
folded constants and running averages become constant arrays. What depends on them becomes steps of
six kinds, which assets/engine.js carries out:

    map      element by element, over operands that are read with strides (broadcasting, transposes,
             slices and reversals included)
    place    arrays written with strides into a constant one (padding and concatenation)
    dot      a batch of matrix products
    conv     a two-dimensional convolution, NHWC by HWIO, with dilations (so transposed ones too)
    reduce   sum, max or min over the last axis
    take     elements picked by a constant index

Every decoder made of such operations can be translated, whatever linen modules it is written in.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, PyTree
from jaxgen.visualization._program_builder import Builder, UntranslatableError
from jaxgen.visualization._translation import evaluate

__all__ = ["Program", "UntranslatableError", "rounded", "translate"]


class Program(NamedTuple):
    """A translated function.

    Attributes:
      inputs: (identifier, size) of each argument; what the page hands over as float32.
      constants: (identifier, array) in float16 where that loses nothing, else float32 or int32.
      steps: dicts that engine.js understands, in order; each names what it reads and writes.
      output: identifier of the result.
      output_shape: its shape.
    """

    inputs: list[tuple[int, int]]
    constants: list[tuple[int, np.ndarray]]
    steps: list[dict[str, Any]]
    output: int
    output_shape: tuple[int, ...]

    def num_bytes(self) -> int:
        """Size of all constants."""
        return sum(array.nbytes for _, array in self.constants)

    def description(self) -> dict[str, Any]:
        """All but the constants' values, as JSON can hold it."""
        constants = [
            {"id": i, "dtype": array.dtype.name, "size": array.size} for i, array in self.constants
        ]
        inputs = [{"id": i, "size": size} for i, size in self.inputs]
        return {
            "inputs": inputs,
            "constants": constants,
            "steps": self.steps,
            "output": self.output,
        }

    def weights(self) -> bytes:
        """The constants' values, one after another, little-endian."""
        return b"".join(
            array.astype(array.dtype.newbyteorder("<")).tobytes() for _, array in self.constants
        )


def rounded(state: PyTree) -> PyTree:
    """The state with every floating leaf rounded to float16 and back, as a page keeps it.

    A leaf that has values beyond float16's range stays as it is.
    """

    def of_leaf(leaf: Array) -> np.ndarray | Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        values = np.asarray(leaf)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        return half.astype(values.dtype) if np.isfinite(half).all() else values

    return jax.tree.map(of_leaf, state)


def translate(function: Callable[..., Array], *arguments: jax.ShapeDtypeStruct) -> Program:
    """Traces a function of arrays and gives it as a program.

    Args:
      function: gives one array; its weights are closed over.
      *arguments: shapes and dtypes of its arguments.

    Raises:
      UntranslatableError: where the result depends on an argument through an operation that no step
        stands for, such as a random draw or a loop.
    """
    builder = Builder()
    traced = jax.make_jaxpr(function)(*arguments)
    inputs = [builder.new(argument.shape) for argument in arguments]
    (result,) = evaluate(builder, traced.jaxpr, traced.consts, inputs)
    output = builder.map("copy", [result], result.shape)
    return Program(
        [(node.identifier, math.prod(node.shape)) for node in inputs],
        builder.constants,
        builder.steps,
        output.identifier,
        output.shape,
    )
