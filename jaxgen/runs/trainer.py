"""Training inside a run: one epoch after another, evaluated, saved, and checked to be finite."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen._process import deferred, raise_if_interrupted
from jaxgen.errors import UserError
from jaxgen.runs import processes
from jaxgen.runs.devices import Devices
from jaxgen.runs.feeding import feeding, labels_of
from jaxgen.runs.reporting import named
from jaxgen.runs.saving import Saving, Settings, broken_message
from jaxgen.runs.training import (
    Pace,
    Progress,
    Watch,
    first_broken,
    means_over_images,
    next_stop,
    restored,
    wait_until_ready,
)
from jaxgen.types import Array, Dataset, Learner, PyTree, Split


class Trainer:
    """A learner, what it is fed with, and how far it has come.

    Args:
      learner: what is trained.
      dataset: the data.
      num_examples: train on the first so many images.
      held_out: names of the splits to evaluate on after each epoch.
      folder: of the run.
      settings: when to save.
      devices: where to train.
      key: (purpose, index) -> a key of the run.

    Attributes:
      progress: the state and what was done.
      num_steps: of an epoch.
      num_images: training images.
      feeding: what the steps are fed with.
      test: the test split, its images on one device.
    """

    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        num_examples: int,
        held_out: tuple[str, ...],
        folder: Path,
        settings: Settings,
        devices: Devices,
        key: Callable[..., Array],
    ):
        self._learner = learner
        self._folder = folder
        self._key = key
        self._devices = devices
        self._checkpoint_every = settings.checkpoint_every
        self._keep_best = settings.keep_best
        self._pace = Pace()
        self.num_steps = -(-num_examples // learner.images_per_step)
        self.num_images = num_examples
        self.feeding = feeding(learner, dataset.train, num_examples, devices)
        self._held_out = {
            name: Split(
                devices.everywhere(dataset.splits[name].images), dataset.splits[name].labels
            )
            for name in held_out
        }
        test = self._held_out["test"]
        self.test = Split(devices.one_copy(test.images), test.labels)
        self.saving = Saving(folder / "checkpoints", settings)
        self._started = time.perf_counter()
        self._seconds_before = 0.0
        self._resumed = self._donated = False
        self.progress = Progress(None)

    def begin(self, initial_state: Callable[[Array], PyTree]) -> None:
        """Takes the newest checkpoint, or initial weights where there is none."""
        init_key = self._key("init")
        template = jax.eval_shape(self._learner.init, init_key)
        self._check_metric(template)
        found = self.saving.restore(template)
        described = processes.from_first(found and found.record())
        begun = found or Progress(initial_state(init_key))
        if described is not None:
            found = begun = restored(begun.state, described)
        state = processes.state_from_first(begun.state)
        self.progress = begun._replace(state=self._devices.everywhere(state))
        self._resumed = found is not None
        self._seconds_before = self.progress.seconds

    def _check_metric(self, state: PyTree) -> None:
        """Raises UserError unless the metric that the best is chosen by is one of evaluation."""
        chosen = (self._keep_best or "").removeprefix("validation/")
        if not chosen:
            return
        images, labels = self._held_out["validation"]
        given = labels_of(self._learner, labels)
        key = self._key("validation")
        names = sorted(jax.eval_shape(self._learner.evaluate, state, images, key, **given))
        if chosen not in names:
            raise UserError(f"expected --keep-best among {', '.join(names)}, got {chosen}")

    @property
    def step(self) -> int:
        """How many steps the state has seen."""
        return self.progress.epoch * self.num_steps + self.progress.position

    @property
    def state(self) -> PyTree:
        """The newest state, on one device."""
        return self._devices.one_copy(self.progress.state)

    def seconds(self) -> float:
        """Of the run, over all its processes."""
        return self._seconds_before + time.perf_counter() - self._started

    def train_epoch(self, every: int | None, watch: Watch | None) -> dict[str, Any]:
        """Trains and evaluates until the end of an epoch.

        Args:
          every: call `watch` at multiples of this number of steps.
          watch: see `Run.epochs`.

        Returns:
          The record of the epoch. It counts as finished only after `finish_epoch`.

        Raises:
          UserError: a metric is not finite.
          KeyboardInterrupt: between two stretches, or during the evaluation.
        """
        before = self.progress.epoch * self.num_steps
        looks = every if watch else None
        everies = [number for number in (looks, self._checkpoint_every) if number]

        def look() -> None:
            position = self.progress.position
            if looks and watch and position and (before + position) % looks == 0:
                since = slice(max(0, position - looks), position)
                newest = {name: values[since] for name, values in self.progress.steps.items()}
                watch(self.state, before + position, means_over_images(newest))

        if self._resumed:  # it may have been interrupted between a step and the look at it
            self._resumed = False
            look()
        while self.progress.position < self.num_steps:
            raise_if_interrupted()
            position, most = self.progress.position, self._pace.steps
            stop = next_stop(position, self.num_steps, most, before, everies)
            stop = processes.from_first(stop)
            self._train_stretch(position, stop)
            look()
            saves = self._checkpoint_every
            if saves and (before + stop) % saves == 0 and stop < self.num_steps:
                self.saving.save(self.step, self._timed())
        record = {
            "epoch": self.progress.epoch + 1,
            "step": self.step,
            "seconds": round(self.progress.epoch_seconds, 4),
            **named("train", means_over_images(self.progress.steps)),
        }
        for name, split in self._held_out.items():
            record |= named(name, self._evaluate(name, split))
        for name, value in record.items():
            if not np.isfinite(value):
                raise self._broken(self.step, name, value)
        return record

    def finish_epoch(self, record: Mapping[str, Any]) -> None:
        """Counts the epoch as finished, and starts to save it."""
        self.progress = Progress(self.progress.state, record["epoch"], seconds=self.seconds())
        self.saving.save(record["step"], self.progress, record)

    def save_interrupted(self) -> None:
        """Saves what has been done since the newest checkpoint.

        Not after a second signal that came while the state was donated: then there is none.
        """
        if not self._donated:
            self.saving.save_interrupted(self.step, self._timed())

    def _train_stretch(self, start: int, stop: int) -> None:
        before, began = self.progress, time.perf_counter()
        key = self._key("train", before.epoch + 1)
        # The state is donated: its successor has to be in place.
        with deferred(), self._devices.context():
            self._donated = True
            state, steps = self.feeding.train(before.state, key, start, stop)
            self.progress = before._replace(state=state, pending=(start, stop, steps))
            self._donated = False
        wait_until_ready(steps)
        settled = self.progress.settled()
        seconds = time.perf_counter() - began
        self._pace.measured(stop - start, seconds)
        self.progress = settled._replace(epoch_seconds=before.epoch_seconds + seconds)
        if broken := first_broken(self.progress.steps):
            step, name, value = broken
            raise self._broken(before.epoch * self.num_steps + step + 1, f"train/{name}", value)

    def _evaluate(self, name: str, split: Split) -> dict[str, float]:
        # The same key every epoch: the estimate's noise then does not move the curve.
        key = self._key("evaluate" if name == "test" else name)
        labels = labels_of(self._learner, split.labels)
        with self._devices.context():
            metrics = self._learner.evaluate(self.progress.state, split.images, key, **labels)
        wait_until_ready(metrics)
        return {name: float(value) for name, value in metrics.items()}

    def _broken(self, step: int, metric: str, value: float) -> UserError:
        epoch = self.progress.epoch + 1
        return UserError(broken_message(step, epoch, metric, value, self.saving.last, self._folder))

    def _timed(self) -> Progress:
        return self.progress._replace(seconds=self.seconds())
