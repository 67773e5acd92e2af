"""Models of a generator and its critic."""

from typing import NamedTuple, Protocol

from jaxgen.types._arrays import Array, Inputs, Metrics, PyTree
from jaxgen.types._functions import (
    DecodeFunction,
    InitFunction,
    SampleFunction,
)


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
