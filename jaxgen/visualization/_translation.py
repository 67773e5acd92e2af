"""From a traced function to steps: known values are evaluated, computed ones become steps."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxgen.convolutions.platforms import on_any
from jaxgen.visualization._primitives import rule_of
from jaxgen.visualization._program_builder import Builder, Node, UntranslatableError, Value

INLINED = ("jaxpr", "call_jaxpr", "call")  # parameters that hold the body of a call
LOOPS = ("scan", "while", "cond")


def evaluate(
    builder: Builder, jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[Value]
) -> list[Value]:
    """Goes through the equations of a jaxpr in order; gives its outputs.

    Raises:
      UntranslatableError: a computed value enters an operation that no step stands for.
    """
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        return np.asarray(atom.val) if isinstance(atom, Literal) else values[atom]

    values.update(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        results = _equation(builder, equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(builder: Builder, equation: JaxprEqn, inputs: list[Value]) -> Sequence[Value]:
    name, parameters = equation.primitive.name, equation.params
    if name == "convolution_product":
        if parameters["mapped"]:
            raise UntranslatableError("a convolution under vmap")
        form = partial(on_any, parameters["name"], parameters["geometry"])
        factors = [jax.ShapeDtypeStruct(value.shape, jnp.float32) for value in inputs]
        inner = jax.make_jaxpr(form)(*factors)
        return evaluate(builder, inner.jaxpr, inner.consts, inputs)
    if name not in LOOPS:
        for inner in (parameters.get(key) for key in INLINED):
            if isinstance(inner, ClosedJaxpr):
                return evaluate(builder, inner.jaxpr, inner.consts, inputs)
            if isinstance(inner, Jaxpr):
                return evaluate(builder, inner, (), inputs)
    if not any(isinstance(value, Node) for value in inputs):
        results = equation.primitive.bind(*map(jnp.asarray, inputs), **parameters)
        several = equation.primitive.multiple_results
        return [np.asarray(result) for result in (results if several else [results])]
    result: Any = equation.outvars[0].aval
    rule = rule_of(name, jnp.issubdtype(result.dtype, jnp.integer))
    return [rule(builder, inputs, parameters, tuple(result.shape))]
