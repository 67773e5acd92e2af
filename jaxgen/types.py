"""The NamedTuples that the rooms of jaxgen hand to each other."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
PyTree = Any
Metrics = dict[str, jax.Array]


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
      images: uint8 [N, H, W, C].
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


class Model(NamedTuple):
    """The mathematics of a model, without an optimizer.

    `variables` is what linen's `init` gives: {"params": ..., "batch_stats": ...}, the second only
    where a network has BatchNorm. Images are [B, H, W, C], uint8 or float in [0, 1]. `step` is how
    many steps of descent have been taken, int32: objectives may change with it. Models that are
    conditional on labels take them, int32 [B], as one more argument of every function but `init`;
    `sample` draws them uniformly where it is given none.

    Attributes:
      init: key -> variables.
      loss: (variables, images, key, step) -> (loss, (metrics, batch_stats)); a mean over
        the batch in training mode, differentiable in variables["params"].
      evaluate: (variables, images, key, step) -> metrics, each [B], in evaluation mode.
      sample: (variables, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (variables, latents [N, latent_size]) -> images in [0, 1].
      encode: (variables, images) -> (mean, log_var), each [B, latent_size].
      reconstruct: (variables, images) -> images in [0, 1].

    The last four are None where a model has no such thing.
    """

    init: Callable[..., PyTree]
    loss: Callable[..., tuple[Array, tuple[Metrics, PyTree]]]
    evaluate: Callable[..., Metrics]
    sample: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]
    decode: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]
    encode: Callable[..., tuple[Array, Array]] = None  # pyright: ignore[reportAssignmentType]
    reconstruct: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]


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
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    generate: Callable[..., tuple[Array, PyTree]]
    critic_loss: Callable[..., tuple[Array, tuple[Metrics, PyTree]]]
    generator_loss: Callable[..., tuple[Array, tuple[Metrics, PyTree]]]
    evaluate: Callable[..., Metrics]
    sample: Callable[..., Array]
    decode: Callable[..., Array]


class Learner(NamedTuple):
    """A model being fitted: pure functions over one pytree of state.

    Every function is jit-compiled, traceable and vmappable. Keys are consumed: never pass the
    same key twice. Where the system is conditional on labels, every function but `init` takes
    labels=..., int32 [N]; `sample` draws them uniformly where it is given none.

    Attributes:
      init: key -> state.
      step: (state, images, key) -> (state, metrics); one step of descent. The state is donated:
        the one passed in can not be used again.
      epoch: (state, images, key) -> (state, metrics, each [num_steps]); shuffles, then steps over
        all the images, as one XLA program. The state is donated. The last batch may be smaller;
        metrics["num_images"] says how many images each step saw.
      evaluate: (state, images, key) -> metrics; means over all the images, state unchanged.
      sample: (state, num_samples, key) -> images [N, H, W, C] in [0, 1].
      decode: (state, latents) -> images in [0, 1], in evaluation mode.
      encode: (state, images) -> (mean, log_var).
      reconstruct: (state, images) -> images in [0, 1], the decoded posterior mean.

    The last four are None where a model has no such thing.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Metrics]]
    epoch: Callable[..., tuple[PyTree, Metrics]]
    evaluate: Callable[..., Metrics]
    sample: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]
    decode: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]
    encode: Callable[..., tuple[Array, Array]] = None  # pyright: ignore[reportAssignmentType]
    reconstruct: Callable[..., Array] = None  # pyright: ignore[reportAssignmentType]
