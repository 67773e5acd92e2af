"""What the steps of a run are fed with: images on the device, or a stream of batches from disk."""

import time
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np

from jaxgen.data import LazyImages
from jaxgen.data.streams import Batch, epoch_batches
from jaxgen.runs.devices import Devices
from jaxgen.types import SKIPPED, Array, Learner, Metrics, PyTree, Split


class Feeding(Protocol):
    """Does the steps of an epoch, wherever its images are."""

    def train(
        self, state: PyTree, key: Array, start: int, stop: int
    ) -> tuple[PyTree, dict[str, Any]]:
        """The steps start ≤ i < stop of the epoch of `key`, as `learner.epoch` does them.

        Returns:
          The next state, and metrics, each [num_steps], of which start:stop are those of the steps.
        """
        ...

    def summary(self) -> dict[str, Any]:
        """What summary.json records of it."""
        ...


def feeding(learner: Learner, split: Split, num_examples: int, devices: Devices) -> Feeding:
    """The feeding of a run on the first images of a split: streamed where they are lazy."""
    images: Any = split.images[:num_examples]
    labels = split.labels
    labels = labels[:num_examples] if learner.num_classes and labels is not None else None
    if isinstance(images, LazyImages):
        return _Stream(learner, images, labels, devices)
    return _InMemory(learner, images, labels, devices)


class _InMemory:
    def __init__(
        self, learner: Learner, images: np.ndarray, labels: np.ndarray | None, devices: Devices
    ):
        self._learner = learner
        self._images = devices.divided(images)
        self._labels = {} if labels is None else {"labels": devices.everywhere(labels)}

    def train(
        self, state: PyTree, key: Array, start: int, stop: int
    ) -> tuple[PyTree, dict[str, Any]]:
        return self._learner.epoch(state, self._images, key, start=start, stop=stop, **self._labels)

    def summary(self) -> dict[str, Any]:
        return {}


class _Stream:
    """Batches that threads read ahead, also from one stretch of an epoch to the next.

    One step is under way while the next batch is fetched, so that the device is kept busy and no
    more than two batches are on it.
    """

    def __init__(
        self, learner: Learner, images: LazyImages, labels: np.ndarray | None, devices: Devices
    ):
        self._learner = learner
        self._images, self._labels = images, labels
        self._devices = devices
        self._num_steps = -(-len(images) // learner.images_per_step)
        self._batches: Iterator[Batch] = iter(())
        self._next: tuple[bytes, int] | None = None  # key and position of the next batch
        self._waited = self._trained = 0.0

    def train(
        self, state: PyTree, key: Array, start: int, stop: int
    ) -> tuple[PyTree, dict[str, Any]]:
        self._open(key, start)
        began, metrics, sizes = time.perf_counter(), [], []
        under_way: Metrics | None = None
        for _ in range(start, stop):
            batch = self._fetch(under_way)
            jax.block_until_ready(under_way)
            given = {} if batch.labels is None else {"labels": batch.labels}
            state, under_way = self._learner.step(state, batch.images, batch.key, **given)
            metrics.append(under_way)
            sizes.append(len(batch.images))
        found = jax.device_get(metrics)
        self._next = (_bytes(key), stop) if stop < self._num_steps else None
        self._trained += time.perf_counter() - began
        return state, self._of_epoch(found, sizes, start, stop)

    def summary(self) -> dict[str, Any]:
        return {"waiting_for_data": round(self._waited / max(self._trained, 1e-9), 4)}

    def _open(self, key: Array, start: int) -> None:
        """Keeps the batches of the last stretch where they fit, else starts to read at `start`."""
        if self._next != (_bytes(key), start):
            self._batches = epoch_batches(
                self._images,
                key,
                self._learner.images_per_step,
                labels=self._labels,
                start=start,
                fill_last=self._learner.fills_last_step,
                placing=self._devices,
            )
        self._next = None  # until all steps are done

    def _fetch(self, under_way: Metrics | None) -> Batch:
        """The next batch; counts the time as waiting where no step was under way at its end."""
        began = time.perf_counter()
        batch = next(self._batches)
        if under_way is None or all(leaf.is_ready() for leaf in jax.tree.leaves(under_way)):
            self._waited += time.perf_counter() - began
        return batch

    def _of_epoch(
        self, found: list[Any], sizes: list[int], start: int, stop: int
    ) -> dict[str, np.ndarray]:
        counted = [
            size * (1 - step.get(SKIPPED, 0)) for size, step in zip(sizes, found, strict=True)
        ]
        values = {name: [step[name] for step in found] for name in found[0]}
        of_epoch = {}
        for name, some in {**values, "num_images": counted}.items():
            of_epoch[name] = np.zeros(self._num_steps, np.float32)
            of_epoch[name][start:stop] = some
        return of_epoch


def _bytes(key: Array) -> bytes:
    return np.asarray(jax.random.key_data(key)).tobytes()


def labels_of(
    learner: Learner, labels: np.ndarray | None, count: int | None = None
) -> dict[str, Any]:
    """The first `count` labels as a keyword argument, where the learner is conditional."""
    if labels is None or not learner.num_classes:
        return {}
    return {"labels": jax.device_put(labels[:count])}
