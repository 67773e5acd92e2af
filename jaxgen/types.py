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
    """(variables, images, key, step, labels) -> (loss, (metrics, batch_stats))."""

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


class Model(NamedTuple):
    """The mathematics of a model, without an optimizer.

    `variables` is what linen's `init` gives: {"params": ..., "batch_stats": ...}, the second only
    where a network has BatchNorm. Images are [B, H, W, C], uint8 or float in [0, 1]. `step` is the
    number of optimizer steps taken, int32: objectives may change with it. A model that is
    conditional on labels takes them as `labels`, int32 [B], in every function but `init`; its
    `sample` draws them uniformly if it is given none.

    Attributes:
      init: key -> variables.
      loss: (variables, images, key, step) -> (loss, (metrics, batch_stats)); a mean over
        the batch in training mode, differentiable in variables["params"].
      evaluate: (variables, images, key, step) -> metrics, each [B], in evaluation mode.
      image_shape: (H, W, C).
      latent_size: dimensions of the latent space; 0 without one.
      num_classes: labels are in 0..num_classes − 1; 0 for a model that is not conditional.
      sample: (variables, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (variables, latents [N, latent_size]) -> images in [0, 1].
      encode: (variables, images) -> (mean, log_var), each [B, latent_size].
      reconstruct: (variables, images) -> images in [0, 1].

    The last four are None for a model without latents.
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


class GenerateFunction(Protocol):
    """(generator's variables, num_images, key) -> (fakes, batch_stats)."""

    def __call__(
        self, variables: PyTree, num_images: int, key: Array, /
    ) -> tuple[Array, PyTree]: ...


class CriticLossFunction(Protocol):
    """(critic's variables, images, fakes, key) -> (loss, (metrics, batch_stats))."""

    def __call__(
        self, variables: PyTree, images: Inputs, fakes: Array, key: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]: ...


class GeneratorLossFunction(Protocol):
    """(critic's variables, fakes) -> (loss, (metrics, batch_stats))."""

    def __call__(
        self, variables: PyTree, fakes: Array, /
    ) -> tuple[Array, tuple[Metrics, PyTree]]: ...


class EvaluateAdversarialFunction(Protocol):
    """(generator's variables, critic's variables, images, key) -> metrics, each [B]."""

    def __call__(
        self, generator: PyTree, critic: PyTree, images: Inputs, key: Array, /
    ) -> Metrics: ...


class AdversarialModel(NamedTuple):
    """The mathematics of a generator and its critic, without optimizers.

    Both have variables as linen's `init` gives them. Losses are means over the batch, metrics
    scalars; `batch_stats` are the running averages after the call, {} without BatchNorm. Images
    are [B, H, W, C], uint8 or float in [0, 1]; fakes are in the range of the generator.

    Attributes:
      init: key -> (generator's variables, critic's variables).
      generate: (generator's variables, num_images, key) -> (fakes, batch_stats of the generator),
        in training mode.
      critic_loss: (critic's variables, images, fakes, key) -> (loss, (metrics, batch_stats of the
        critic)), in training mode.
      generator_loss: (critic's variables, fakes) -> (loss, (metrics, batch_stats of the critic)),
        in training mode; the generator descends it through its fakes.
      evaluate: (generator's variables, critic's variables, images, key) -> metrics, each [B], in
        evaluation mode.
      sample: (generator's variables, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (generator's variables, latents [N, latent_size]) -> images in [0, 1].
      image_shape: (H, W, C).
      latent_size: dimensions of the latent space.
      num_classes: 0, as these models are not conditional.
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

    The last four are None for a model without such a function.
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
