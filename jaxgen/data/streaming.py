"""Data sets whose training images are read while they are used."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxgen.data.lazy import is_lazy
from jaxgen.data.memory import check_held_out, to_be_streamed
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split


class Streaming(NamedTuple):
    """What was asked for of a set that may be larger than memory.

    Attributes:
      stream: whether to stream; None to decide by the memory.
      fast_fingerprint: whether the fingerprint is of names, sizes and times.
    """

    stream: bool | None = None
    fast_fingerprint: bool = False

    def wanted(self, name: str, num_bytes: int) -> bool:
        """Whether a set that can be streamed is to be."""
        return to_be_streamed(self.stream, name, num_bytes)

    def refuse(self, name: str) -> None:
        """Raises UserError where a set is to be streamed that cannot be."""
        if self.stream:
            raise UserError(
                f"{name} is read into memory and cannot be streamed: leave --stream out, or use "
                "folder:DIR, tfds:NAME, npy:DIR or npz:FILE"
            )


IN_MEMORY = Streaming(stream=False)


def streamed(name: str, splits: Mapping[str, Split], fingerprint: str) -> Dataset:
    """A data set of lazy splits, of which all but "train" are read into memory.

    Raises:
      UserError: they do not fit, or an image cannot be read.
    """
    kept: dict[str, Split] = {}
    for split, (images, labels) in splits.items():
        if split == "train":
            kept[split] = Split(images, labels)
            continue
        same = [other for other in kept if splits[other].images is images]
        if same:
            kept[split] = kept[same[0]]
            continue
        kept[split] = in_memory(name, split, splits[split])
    return Dataset(name, kept, fingerprint)


def in_memory(name: str, split: str, lazy: Split) -> Split:
    """A split of lazy images with all of them read.

    Raises:
      UserError: they do not fit, or an image cannot be read.
    """
    check_held_out(name, split, int(np.prod(lazy.images.shape)) * lazy.images.dtype.itemsize)
    return Split(np.asarray(lazy.images), lazy.labels)


def first_in_memory(dataset: Dataset, number: int) -> Dataset:
    """A streamed data set with its first training images alone, in memory; others unchanged."""
    if not is_streamed(dataset):
        return dataset
    images, labels = dataset.train
    first = Split(np.asarray(images[:number]), None if labels is None else labels[:number])
    return dataset._replace(splits={**dataset.splits, "train": first})


def is_streamed(dataset: Dataset) -> bool:
    """Whether the training images of a data set are read while they are used."""
    return is_lazy(dataset.train.images)
