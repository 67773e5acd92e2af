"""Batches of images that need not fit into memory, in the order of the in-memory ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import numpy as np

from jaxgen import _checks
from jaxgen._files import printable, reason
from jaxgen.data.readers.pictures import decode_picture
from jaxgen.data.resizing import Square
from jaxgen.errors import UserError
from jaxgen.types import Array

_THREADS = 8
_BATCHES_AHEAD = 4


class Images(Protocol):
    """Images that are read one at a time; a memory-mapped array is an example."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Image number `index`, [H, W, C], always of the same shape and type."""
        ...


class Batch(NamedTuple):
    """The arguments of one step.

    Attributes:
      number: place of the batch within the epoch, from 0.
      images: [B, H, W, C], on the device.
      labels: int32 [B] on the device, or None.
      key: the key of the step.
    """

    number: int
    images: Array
    labels: Array | None
    key: Array


class PictureFiles:
    """Picture files as images of one size, each decoded when it is asked for.

    Args:
      files: their paths.
      target: what they become.
    """

    def __init__(self, files: Sequence[Path], target: Square):
        self._files = files
        self._target = target

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        """The picture as uint8 [R, R, 3].

        Raises:
          UserError: it cannot be decoded. Unlike in memory, where it would be left out, because the
            order of the others depends on their number.
        """
        file = self._files[index]
        try:
            return decode_picture(file, self._target).pixels
        except MemoryError:
            raise
        except Exception as error:
            raise UserError(
                f"cannot read {printable(file)}: {reason(error)}; replace or delete it"
            ) from error


def epoch_batches(
    images: Images,
    key: Array,
    batch_size: int,
    *,
    labels: np.ndarray | None = None,
    start: int = 0,
) -> Iterator[Batch]:
    """The batches of one epoch of `learners.minimize`, read ahead by threads.

    Batch i holds the images that step i of `learner.epoch(state, images, key)` sees, with the key
    of that step: calling `learner.step` on one batch after another is the same epoch. The order is
    a function of the key and of the number of images, so that the position within an epoch is the
    number of the next batch.

    Args:
      images: what to read from, by index.
      key: the key of the epoch.
      batch_size: images per batch; the last batch may be smaller.
      labels: integers [N], in memory, or None.
      start: the first batch, to go on within an epoch.

    Returns:
      An iterator over batches `start` and later. The next batch is on its way to the device while
      one is in use.

    Raises:
      UserError: a batch size that is larger than the number of images, labels that do not fit, a
        start outside the epoch; while iterating, an image that cannot be read.
    """
    number = len(images)
    batch_size = _checks.whole_number("batch_size", batch_size)
    start = _checks.whole_number("start", start, 0)
    num_batches = -(-number // batch_size)
    if batch_size > number:
        raise UserError(
            f"expected at least one batch of {batch_size} images, got {number} images: choose a "
            "smaller batch size"
        )
    if start > num_batches:
        raise UserError(
            f"expected start to be at most the {num_batches} batches of the epoch, got {start}"
        )
    if labels is not None:
        _checks.check_labels(labels, number, 2**31)
    return _read_ahead(images, key, batch_size, labels, start)


def _read_ahead(
    images: Images, key: Array, batch_size: int, labels: np.ndarray | None, start: int
) -> Iterator[Batch]:
    import grain

    # As `learners.minimize` does it; a test compares the two.
    shuffle_key, steps_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(shuffle_key, len(images)))

    def read(index: int) -> np.ndarray:
        return images[index]

    batches = grain.MapDataset.source(order.tolist()).map(read).batch(batch_size)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_BATCHES_AHEAD)
    waiting: Batch | None = None
    for index, pixels in enumerate(
        batches.slice(slice(start, None)).to_iter_dataset(options), start
    ):
        rows = order[index * batch_size : (index + 1) * batch_size]
        batch = Batch(
            index,
            jax.device_put(pixels),
            None if labels is None else jax.device_put(labels[rows].astype(np.int32)),
            jax.random.fold_in(steps_key, index),
        )
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting
