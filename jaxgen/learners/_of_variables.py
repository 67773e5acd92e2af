"""Functions of a model's variables as functions of a learner's state."""

from collections.abc import Callable
from typing import Any

import jax

from jaxgen.learners._arguments import ExpectedState, compiled
from jaxgen.learners.batching import with_labels
from jaxgen.types import (
    AdversarialModel,
    Array,
    DecodeFunction,
    Density,
    EncodeFunction,
    LogWeightsFunction,
    Model,
    PyTree,
    ReconstructFunction,
    SampleFunction,
)


def functions_of_state(
    model: Model | AdversarialModel, expected: ExpectedState, variables: Callable[[Any], PyTree]
) -> dict[str, Any]:
    """`sample` and the fields after it of a `Learner`, those that the model has.

    Args:
      model: whose functions take variables first.
      expected: the learner's state.
      variables: state -> what the model's functions take.
    """
    makers: dict[str, Any] = {
        "sample": _sample,
        "decode": _decode,
        "encode": _encode,
        "reconstruct": _reconstruct,
        "log_weights": _log_weights,
    }
    functions = {name: getattr(model, name, None) for name in makers}
    made = {
        name: compiled(makers[name](function, variables), model, expected)
        for name, function in functions.items()
        if function is not None
    }
    if (density := getattr(model, "density", None)) is not None:
        made["density"] = _density(density, variables)
    return made


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


def _log_weights(
    function: LogWeightsFunction, variables: Callable[[Any], PyTree]
) -> Callable[..., Any]:
    def log_weights(
        state: PyTree, images: Array, key: Array, num_samples: int, *, labels: Array | None = None
    ) -> Array:
        return function(variables(state), images, key, num_samples, **with_labels(labels))

    return log_weights


def _density(density: Density, variables: Callable[[Any], PyTree]) -> Density:
    """The same functions, compiled, of the state."""

    def of_state(function: Any, num_samples_at: int | None = None) -> Any:
        def call(state: PyTree, *args: Any, **keywords: Any) -> Any:
            return function(variables(state), *args, **keywords)

        if num_samples_at is None:
            return jax.jit(call)
        return jax.jit(call, static_argnums=num_samples_at, static_argnames="num_samples")

    return density._replace(
        observe=jax.jit(density.observe),
        posterior=of_state(density.posterior),
        sample_posterior=of_state(density.sample_posterior, num_samples_at=3),
        sample_prior=of_state(density.sample_prior, num_samples_at=1),
        log_joint=of_state(density.log_joint),
        simulate=of_state(density.simulate),
    )
