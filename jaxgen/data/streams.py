"""Batches of images that need not fit into memory, in the order of the in-memory ones."""

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import jax
import numpy as np

from jaxgen import _checks
from jaxgen.data.readers.folder_stream import PictureFiles
from jaxgen.errors import UserError
from jaxgen.types import Array

__all__ = ["Batch", "Images", "PictureFiles", "epoch_batches"]

# Each reads one batch. More than cores, as files are waited for; few, as each holds a batch.
_THREADS = min(16, max(4, 2 * (os.cpu_count() or 1)))
_BATCHES_AHEAD = _THREADS


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


class Placing(Protocol):
    """Where the rows of a batch are needed."""

    def part(self, num_rows: int, /) -> slice:
        """The rows that this process reads, of a batch of so many."""
        ...

    def put(self, rows: np.ndarray, num_rows: int, /) -> Array:
        """What it has read, as the batch on the devices."""
        ...


class OneDevice:
    """All rows on JAX's default device."""

    def part(self, num_rows: int) -> slice:
        """All of them."""
        return slice(0, num_rows)

    def put(self, rows: np.ndarray, num_rows: int) -> Array:
        """The rows on the device."""
        return jax.device_put(rows)


def epoch_batches(
    images: Images,
    key: Array,
    batch_size: int,
    *,
    labels: np.ndarray | None = None,
    start: int = 0,
    fill_last: bool = False,
    placing: Placing | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch of a learner, read ahead by threads.

    Batch i holds the images that step i of `learner.epoch(state, images, key)` sees, with the key
    of that step: calling `learner.step` on one batch after another is the same epoch. The order is
    a function of the key and of the number of images, so that the position within an epoch is the
    number of the next batch.

    Args:
      images: what to read from, by index.
      key: the key of the epoch.
      batch_size: images per batch: `learner.images_per_step`. The last batch may be smaller.
      labels: integers [N], in memory, or None.
      start: the first batch, to go on within an epoch.
      fill_last: fill the last batch up with images of the first: `learner.fills_last_step`. There
        may then be fewer images than in a batch.
      placing: which rows of a batch this process reads, and how they get to the devices; None for
        all of them, on JAX's default device.

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
    if batch_size > number and not fill_last:
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
    # As the learners do it; tests compare the two.
    shuffle_key, steps_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(shuffle_key, number))
    if fill_last:
        order = np.resize(order, num_batches * batch_size)
    return _read_ahead(images, order, steps_key, batch_size, labels, start, placing or OneDevice())


def _read_ahead(
    images: Images,
    order: np.ndarray,
    steps_key: Array,
    batch_size: int,
    labels: np.ndarray | None,
    start: int,
    placing: Placing,
) -> Iterator[Batch]:
    import grain

    def rows_of(number: int) -> np.ndarray:
        return order[number * batch_size : (number + 1) * batch_size]

    def read(number: int) -> np.ndarray:
        rows = rows_of(number)
        return np.stack([images[int(row)] for row in rows[placing.part(len(rows))]])

    # An element is a batch: grain's work on each element is then small.
    batches = grain.MapDataset.range(start, -(-len(order) // batch_size)).map(read)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_BATCHES_AHEAD)
    waiting: Batch | None = None
    for index, pixels in enumerate(batches.to_iter_dataset(options), start):
        rows = rows_of(index)
        of_batch = None
        if labels is not None:
            of_part = labels[rows[placing.part(len(rows))]].astype(np.int32)
            of_batch = placing.put(of_part, len(rows))
        batch = Batch(
            index,
            placing.put(pixels, len(rows)),
            of_batch,
            jax.random.fold_in(steps_key, index),
        )
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting
