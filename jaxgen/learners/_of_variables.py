"""Functions of a model's variables as functions of a learner's state."""

from collections.abc import Callable
from typing import Any

from jaxgen.learners._arguments import ExpectedState, compiled
from jaxgen.learners.batching import with_labels
from jaxgen.types import (
    AdversarialModel,
    Array,
    DecodeFunction,
    EncodeFunction,
    Model,
    PyTree,
    ReconstructFunction,
    SampleFunction,
)


def functions_of_state(
    model: Model | AdversarialModel, expected: ExpectedState, variables: Callable[[Any], PyTree]
) -> dict[str, Any]:
    """`sample`, `decode`, `encode` and `reconstruct` of a learner, those that the model has.

    Args:
      model: whose functions take variables first.
      expected: the learner's state.
      variables: state -> what the model's functions take.
    """
    makers = {"sample": _sample, "decode": _decode, "encode": _encode, "reconstruct": _reconstruct}
    functions = {name: getattr(model, name, None) for name in makers}
    return {
        name: compiled(makers[name](function, variables), model, expected)
        for name, function in functions.items()
        if function is not None
    }


def _sample(function: SampleFunction, variables: Callable[[Any], PyTree]) -> Callable[..., Any]:
    def sample(
        state: PyTree, num_samples: int, key: Array, *, labels: Array | None = None
    ) -> Array:
        return function(variables(state), num_samples, key, **with_labels(labels))

    return sample


def _decode(function: DecodeFunction, variables: Callable[[Any], PyTree]) -> Callable[..., Any]:
    def decode(state: PyTree, latents: Array, *, labels: Array | None = None) -> Array:
        return function(variables(state), latents, **with_labels(labels))

    return decode


def _encode(function: EncodeFunction, variables: Callable[[Any], PyTree]) -> Callable[..., Any]:
    def encode(state: PyTree, images: Array, *, labels: Array | None = None) -> tuple[Array, Array]:
        return function(variables(state), images, **with_labels(labels))

    return encode


def _reconstruct(
    function: ReconstructFunction, variables: Callable[[Any], PyTree]
) -> Callable[..., Any]:
    def reconstruct(state: PyTree, images: Array, *, labels: Array | None = None) -> Array:
        return function(variables(state), images, **with_labels(labels))

    return reconstruct
