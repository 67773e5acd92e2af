"""The functions that models and learners have in common."""

from typing import Protocol

from jaxgen.types._arrays import Array, Inputs, Labels, PyTree


class InitFunction(Protocol):
    """key -> variables or state."""

    def __call__(self, key: Array) -> PyTree: ...


class SampleFunction(Protocol):
    """(variables or state, num_samples, key, labels) -> images [N, H, W, C] in [0, 1]."""

    def __call__(
        self, variables: PyTree, /, num_samples: int, key: Array, *, labels: Labels = None
    ) -> Array: ...


class DecodeFunction(Protocol):
    """(variables or state, latents [N, latent_size], labels) -> images in [0, 1]."""

    def __call__(
        self, variables: PyTree, /, latents: Inputs, *, labels: Labels = None
    ) -> Array: ...


class EncodeFunction(Protocol):
    """(variables or state, images, labels) -> (mean, log_var), each [N, latent_size]."""

    def __call__(
        self, variables: PyTree, /, images: Inputs, *, labels: Labels = None
    ) -> tuple[Array, Array]: ...


class ReconstructFunction(Protocol):
    """(variables or state, images, labels) -> images in [0, 1]."""

    def __call__(self, variables: PyTree, /, images: Inputs, *, labels: Labels = None) -> Array: ...


class LogWeightsFunction(Protocol):
    """(variables or state, images, key, num_samples, labels) -> [K, B]."""

    def __call__(
        self,
        variables: PyTree,
        /,
        images: Inputs,
        key: Array,
        num_samples: int,
        *,
        labels: Labels = None,
    ) -> Array: ...
