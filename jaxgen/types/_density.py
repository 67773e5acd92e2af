"""The densities of a model."""

from typing import NamedTuple, Protocol

from jaxgen.types._arrays import Array, Inputs, Labels, PyTree


class ObserveFunction(Protocol):
    """(images, key) -> observations [B, H, W, C]."""

    def __call__(self, images: Inputs, key: Array, /) -> Array: ...


class PosteriorFunction(Protocol):
    """(variables or state, observations, labels) -> posterior, arrays [B, ...]."""

    def __call__(
        self, variables: PyTree, /, observations: Inputs, *, labels: Labels = None
    ) -> PyTree: ...


class SamplePosteriorFunction(Protocol):
    """(variables or state, posterior, key, num_samples, labels) -> (latents, log_q [K, B])."""

    def __call__(
        self,
        variables: PyTree,
        /,
        posterior: PyTree,
        key: Array,
        num_samples: int,
        *,
        labels: Labels = None,
    ) -> tuple[PyTree, Array]: ...


class SamplePriorFunction(Protocol):
    """(variables or state, num_samples, key, labels) -> latents [N, ...]."""

    def __call__(
        self, variables: PyTree, /, num_samples: int, key: Array, *, labels: Labels = None
    ) -> PyTree: ...


class LogJointFunction(Protocol):
    """(variables or state, observations, latents, labels) -> log p(x, z), [K, B]."""

    def __call__(
        self, variables: PyTree, /, observations: Inputs, latents: PyTree, *, labels: Labels = None
    ) -> Array: ...


class SimulateFunction(Protocol):
    """(variables or state, latents, key, labels) -> observations [N, H, W, C]."""

    def __call__(
        self, variables: PyTree, /, latents: PyTree, key: Array, *, labels: Labels = None
    ) -> Array: ...


class Density(NamedTuple):
    """The densities p(x, z) and q(z|x) of a model, as pure functions in evaluation mode.

    Those of a `Model` take variables first, those of a `Learner` the state. Where the model is
    conditional on labels, all but `observe` take labels=..., int32 [B]. With one layer of latents
    `latents` is [K, B, D]; with two layers it is a tuple (z₁, z₂) of such arrays, z₁ next to the
    image. Densities are in nats, with all constants.

    Attributes:
      observe: (images, key) -> observations [B, H, W, C]: floats as the likelihood takes them,
        binarized under the key where the model binarizes dynamically.
      posterior: (variables, observations) -> what is computed of q(z|x) once per image: a pytree
        of arrays [B, ...].
      sample_posterior: (variables, posterior, key, num_samples) -> (latents, log q(z|x) [K, B]).
      sample_prior: (variables, num_samples, key) -> latents [N, ...]: as above, without K.
      log_joint: (variables, observations, latents) -> log p(x, z) [K, B].
      simulate: (variables, latents [N, ...], key) -> observations drawn from p(x|z).
      unnormalized: None where log p(x|z) is a log-likelihood; otherwise why not, in one phrase.
      discrete: whether p(x|z) is a probability of binary pixels.
    """

    observe: ObserveFunction
    posterior: PosteriorFunction
    sample_posterior: SamplePosteriorFunction
    sample_prior: SamplePriorFunction
    log_joint: LogJointFunction
    simulate: SimulateFunction
    unnormalized: str | None = None
    discrete: bool = False
