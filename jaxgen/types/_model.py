"""Models with one loss."""

from typing import NamedTuple, Protocol

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
