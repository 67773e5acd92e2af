"""The types that the packages of jaxgen share."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxgen.errors import UserError

Array = jax.Array
PyTree = Any
Metrics = dict[str, jax.Array]
Inputs = jax.Array | np.ndarray
Labels = jax.Array | np.ndarray | None  # integers [N]


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
      images: [N, H, W, C], uint8 or float32 in [0, 1].
      labels: int32 [N], or None where the set has none.
    """

    images: np.ndarray
    labels: np.ndarray | None


class Dataset(NamedTuple):
    """Images in memory, by split, with a fingerprint of their content.

    Attributes:
      name: what `data.load` was asked for, with "auto" replaced by what it found.
      splits: split name -> Split; every set has "train" and "test".
      fingerprint: hexadecimal digest of every array; equal if and only if the data are equal.
    """

    name: str
    splits: Mapping[str, Split]
    fingerprint: str

    @property
    def train(self) -> Split:
        """The split to fit."""
        return self.splits["train"]

    @property
    def test(self) -> Split:
        """The held-out split."""
        return self.splits["test"]


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


class LossFunction(Protocol):
    """(variables, images, key, step, labels) -> (loss, (metrics, collections))."""

    def __call__(
        self,
        variables: PyTree,
        images: Inputs,
        key: Array,
        step: Array | int,
        /,
        *,
        labels: Labels = None,
    ) -> tuple[Array, tuple[Metrics, PyTree]]: ...


class EvaluateModelFunction(Protocol):
    """(variables, images, key, step, labels) -> metrics, each [B]."""

    def __call__(
        self,
        variables: PyTree,
        images: Inputs,
        key: Array,
        step: Array | int,
        /,
        *,
        labels: Labels = None,
    ) -> Metrics: ...


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


class Model(NamedTuple):
    """The mathematics of a model, without an optimizer.

    `variables` is what linen's `init` gives: {"params": ...} and the other collections of the
    modules, such as {"batch_stats": ...} with BatchNorm; "intermediates" are dropped. Images are
    [B, H, W, C], uint8 or float in [0, 1]. `step` is the number of optimizer steps taken, int32:
    objectives may change with it. A model that is conditional on labels takes them as `labels`,
    int32 [B], in every function but `init`; its `sample` draws them uniformly if it is given none.

    Attributes:
      init: key -> variables.
      loss: (variables, images, key, step) -> (loss, (metrics, collections)); means over
        the batch in training mode, differentiable in variables["params"]; the collections are
        those after the step.
      evaluate: (variables, images, key, step) -> metrics, each [B], in evaluation mode.
      image_shape: (H, W, C).
      latent_size: dimensions of the latent space; 0 without one.
      num_classes: labels are in 0..num_classes − 1; 0 for a model that is not conditional.
      sample: (variables, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (variables, latents [N, latent_size]) -> images in [0, 1].
      encode: (variables, images) -> (mean, log_var), each [B, latent_size].
      reconstruct: (variables, images) -> images in [0, 1].
      density: p(x, z) and q(z|x).
      log_weights: (variables, images, key, num_samples) -> log p(x, z) − log q(z|x) for num_samples
        draws of z from q(z|x), [num_samples, B], nats.

    From `sample` on a field is None where the model has no such function.
    """

    init: InitFunction
    loss: LossFunction
    evaluate: EvaluateModelFunction
    image_shape: tuple[int, int, int]
    latent_size: int = 0
    num_classes: int = 0
    sample: SampleFunction | None = None
    decode: DecodeFunction | None = None
    encode: EncodeFunction | None = None
    reconstruct: ReconstructFunction | None = None
    density: Density | None = None
    log_weights: LogWeightsFunction | None = None


class GenerateFunction(Protocol):
    """(generator's variables, num_images, key) -> (fakes, collections)."""

    def __call__(
        self, variables: PyTree, num_images: int, key: Array, /
    ) -> tuple[Array, PyTree]: ...


class CriticLossFunction(Protocol):
    """(critic's variables, images, fakes, key) -> (loss, (metrics, collections))."""

    def __call__(
        self, variables: PyTree, images: Inputs, fakes: Array, key: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]: ...


class GeneratorLossFunction(Protocol):
    """(critic's variables, fakes, key) -> (loss, (metrics, collections))."""

    def __call__(
        self, variables: PyTree, fakes: Array, key: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]: ...


class EvaluateAdversarialFunction(Protocol):
    """(generator's variables, critic's variables, images, key) -> metrics, each [B]."""

    def __call__(
        self, generator: PyTree, critic: PyTree, images: Inputs, key: Array, /
    ) -> Metrics: ...


class EvaluateSetFunction(Protocol):
    """(generator's variables, images, key) -> metrics of as many samples, scalars."""

    def __call__(self, generator: PyTree, images: Inputs, key: Array, /) -> Metrics: ...


class AdversarialModel(NamedTuple):
    """The mathematics of a generator and its critic, without optimizers.

    Both have variables as linen's `init` gives them. Losses are means over the batch, metrics
    scalars; `collections` are those after the call, such as the averages of BatchNorm. Images are
    [B, H, W, C], uint8 or float in [0, 1]; fakes are in the range of the generator.

    Attributes:
      init: key -> (generator's variables, critic's variables).
      generate: (generator's variables, num_images, key) -> (fakes, collections of the
        generator), in training mode.
      critic_loss: (critic's variables, images, fakes, key) -> (loss, (metrics, collections of the
        critic)), in training mode.
      generator_loss: (critic's variables, fakes, key) -> (loss, (metrics, collections of the
        critic)), in training mode; the generator descends it through its fakes.
      evaluate: (generator's variables, critic's variables, images, key) -> metrics, each [B], in
        evaluation mode.
      sample: (generator's variables, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (generator's variables, latents [N, latent_size]) -> images in [0, 1].
      image_shape: (H, W, C).
      latent_size: dimensions of the latent space.
      num_classes: 0, as these models are not conditional.
      evaluate_set: (generator's variables, images, key) -> metrics, scalars, that compare a set of
        samples with a set of as many images; None without any.
    """

    init: InitFunction
    generate: GenerateFunction
    critic_loss: CriticLossFunction
    generator_loss: GeneratorLossFunction
    evaluate: EvaluateAdversarialFunction
    sample: SampleFunction
    decode: DecodeFunction
    image_shape: tuple[int, int, int]
    latent_size: int
    num_classes: int = 0
    evaluate_set: EvaluateSetFunction | None = None


class StepFunction(Protocol):
    """(state, images, key, labels) -> (state, metrics)."""

    def __call__(
        self, state: PyTree, images: Inputs, key: Array, *, labels: Labels = None
    ) -> tuple[PyTree, Metrics]: ...


class EpochFunction(Protocol):
    """(state, images, key, labels, start, stop) -> (state, metrics, each [num_steps])."""

    def __call__(
        self,
        state: PyTree,
        images: Inputs,
        key: Array,
        *,
        labels: Labels = None,
        start: Array | int = 0,
        stop: Array | int | None = None,
    ) -> tuple[PyTree, Metrics]: ...


class EvaluateFunction(Protocol):
    """(state, images, key, labels) -> metrics, scalars."""

    def __call__(
        self, state: PyTree, images: Inputs, key: Array, *, labels: Labels = None
    ) -> Metrics: ...


class Learner(NamedTuple):
    """A model being fitted: pure functions over one pytree of state.

    Every function is jit-compiled, traceable and vmappable. Keys are consumed: never pass the
    same key twice. A system that is conditional takes labels=..., int32 [N], in every function but
    `init`; its `sample` draws them uniformly if it is given none.

    Wrong arguments raise a UserError before anything is computed. Pixels and labels in NumPy arrays
    are checked by value: floats have to be in [0, 1], labels in 0..num_classes − 1. Those on a
    device are checked by shape and dtype alone, as reading them would wait for the device.

    Attributes:
      init: key -> state.
      step: (state, images, key) -> (state, metrics); one optimizer step. The state is donated:
        the one passed in can not be used again.
      epoch: (state, images, key, start=0, stop=None) -> (state, metrics, each [num_steps]);
        shuffles, then does the steps start ≤ i < stop of ceil(N / images_per_step), as one XLA
        program. The state is donated. Metrics of other steps are zeros. An epoch done in stretches
        under one key has the same steps as in one piece. metrics["num_images"] is the number of
        images in each step. The last step of `learners.minimize` takes the images that are left;
        that of `learners.adversarial` is filled up with images of the first.
      evaluate: (state, images, key) -> metrics; means over all the images, state unchanged.
      image_shape: (H, W, C).
      latent_size: dimensions of the latent space; 0 without one.
      num_classes: labels are in 0..num_classes − 1; 0 for a system that is not conditional.
      images_per_step: images that a full step of `epoch` takes.
      sample: (state, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (state, latents [N, latent_size]) -> images in [0, 1], in evaluation mode.
      encode: (state, images) -> (mean, log_var), each [N, latent_size].
      reconstruct: (state, images) -> images in [0, 1], the decoded posterior mean.
      density: p(x, z) and q(z|x).
      log_weights: (state, images, key, num_samples) -> log p(x, z) − log q(z|x) for num_samples
        draws of z from q(z|x), [num_samples, N], nats.

    From `sample` on a field is None where the model has no such function: see `require`.
    """

    init: InitFunction
    step: StepFunction
    epoch: EpochFunction
    evaluate: EvaluateFunction
    image_shape: tuple[int, int, int]
    latent_size: int
    num_classes: int
    images_per_step: int
    sample: SampleFunction | None = None
    decode: DecodeFunction | None = None
    encode: EncodeFunction | None = None
    reconstruct: ReconstructFunction | None = None
    density: Density | None = None
    log_weights: LogWeightsFunction | None = None

    def require(self, name: str) -> Any:
        """The optional function of that name.

        Raises:
          UserError: if this learner has none.
        """
        function = getattr(self, name)
        if function is None:
            raise UserError(
                f"expected a learner that has {name}, got one without: choose another kind of model"
            )
        return function
