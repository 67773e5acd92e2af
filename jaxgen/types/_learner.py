"""Learners: models being fitted."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxgen.errors import UserError
from jaxgen.types._arrays import Array, Inputs, Labels, Metrics, PyTree
from jaxgen.types._density import Density
from jaxgen.types._functions import (
    DecodeFunction,
    EncodeFunction,
    InitFunction,
    LogWeightsFunction,
    ReconstructFunction,
    SampleFunction,
)

SKIPPED = "skipped"  # the metric of a step whose update was left out


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
      batch_size: images of one update; an adversarial step has several updates of the critic.
      sample: (state, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (state, latents [N, latent_size]) -> images in [0, 1], in evaluation mode.
      encode: (state, images) -> (mean, log_var), each [N, latent_size].
      reconstruct: (state, images) -> images in [0, 1], the decoded posterior mean.
      density: p(x, z) and q(z|x).
      log_weights: (state, images, key, num_samples) -> log p(x, z) − log q(z|x) for num_samples
        draws of z from q(z|x), [num_samples, N], nats.
      skipping_nonfinite: () -> the same learner, whose steps leave out an update where a metric or
        the new state is not finite. The metric "skipped" is 1 in such a step; its other metrics
        are what it found, and its num_images is 0.
      fills_last_step: whether the last step of `epoch` is filled up with images of the first; else
        it takes the images that are left.

    From `sample` to `skipping_nonfinite` a field is None where the model has no such function:
    see `require`.
    """

    init: InitFunction
    step: StepFunction
    epoch: EpochFunction
    evaluate: EvaluateFunction
    image_shape: tuple[int, int, int]
    latent_size: int
    num_classes: int
    images_per_step: int
    batch_size: int
    sample: SampleFunction | None = None
    decode: DecodeFunction | None = None
    encode: EncodeFunction | None = None
    reconstruct: ReconstructFunction | None = None
    density: Density | None = None
    log_weights: LogWeightsFunction | None = None
    skipping_nonfinite: "Callable[[], Learner] | None" = None
    fills_last_step: bool = False

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
