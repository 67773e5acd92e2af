"""The loop itself: epochs of training, each evaluated, recorded and saved."""

import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxgen.errors import UserError
from jaxgen.runs import flags
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.runs.reporting import (
    CompileSeconds,
    epoch_line,
    event_writer,
    headline,
    means_over_images,
    named,
    short,
)
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Array, Dataset, Learner, PyTree, Split
from jaxgen.visualization import grids, plots

Watch = Callable[[PyTree, int, dict[str, float]], None]


class Run:
    """One run: its data, its learner and its folder, with the record of what it depends on.

    Made by `start`.

    Attributes:
      config: what the command line asked for.
      dataset: the data.
      test: the held-out split, its images on the device.
      learner: the system.
      state: the newest state; donated to the next epoch, so never keep it across epochs.
      history: one record an epoch, as in metrics.jsonl.
      steps: the metrics of each step of the newest epoch, [num_steps].
    """

    def __init__(
        self,
        config: flags.Config,
        dataset: Dataset,
        learner: Learner,
        workdir: Workdir,
        record: dict[str, Any],
    ):
        self.config = config
        self.dataset = dataset
        self.learner = learner
        self._workdir = workdir
        self._started = time.perf_counter()
        self._compile_seconds = CompileSeconds()
        self._root_key = jax.random.key(config.seed)
        self._train_images = jax.device_put(dataset.train.images[: config.num_examples])
        self.test = Split(jax.device_put(dataset.test.images), dataset.test.labels)
        self._train_labels = self.labels(dataset.train.labels, config.num_examples)
        self._test_labels = self.labels(dataset.test.labels)
        self._checkpoints = Checkpoints(workdir.path / "checkpoints")

        self.state: PyTree = learner.init(self.key("init"))
        self.history: list[dict[str, Any]] = []
        self.steps: dict[str, np.ndarray] = {}
        self._earlier_seconds = 0.0
        if restored := self._checkpoints.restore_latest(self.state):
            self.state = restored.state
            self.history = workdir.read_history(restored.metadata["epoch"])
            self._earlier_seconds = restored.metadata["seconds"]
        if self.epoch > config.num_epochs:
            raise UserError(
                f"{workdir.path} holds {self.epoch} epochs, more than --num-epochs "
                f"{config.num_epochs}: ask for more, or --overwrite to start anew"
            )
        workdir.write_config(record)
        self._tensorboard = event_writer(workdir.path / "tensorboard", self.epoch)
        self._tensorboard_of_steps = None

    @property
    def epoch(self) -> int:
        """How many epochs the state has seen."""
        return len(self.history)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.dataset.train.images.shape
        return height, width, channels

    def key(self, purpose: str, index: int = 0) -> Array:
        """The run's key for one purpose: the same for the same --seed, purpose and index."""
        purpose_key = jax.random.fold_in(self._root_key, zlib.crc32(purpose.encode()))
        return jax.random.fold_in(purpose_key, index)

    def labels(self, labels: np.ndarray | None, count: int | None = None) -> dict[str, Any]:
        """The first `count` labels as a keyword argument, where the system is conditional."""
        if labels is None or "num_classes" not in self.config.hyperparameters:
            return {}
        return {"labels": jax.device_put(labels[:count])}

    def note(self, text: str) -> None:
        """Says one line, without disturbing the progress bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def path(self, name: str) -> Path:
        """A file of the workdir."""
        return self._workdir.path / name

    def draw(self, name: str, picture: ArrayLike) -> None:
        """Saves a picture of the current epoch as images/NAME-EPOCH.png, and for TensorBoard."""
        grids.save(self.path(f"images/{name}-{self.epoch:03d}.png"), picture)
        self._tensorboard.add_image(name, np.asarray(picture), self.epoch, dataformats="HWC")

    def write_steps(self) -> None:
        """Writes the metrics of each step of the newest epoch for TensorBoard, as train/..."""
        last = self.history[-1]["step"]
        num_steps = len(self.steps["num_images"])
        if self._tensorboard_of_steps is None:
            folder = self.path("tensorboard/steps")
            self._tensorboard_of_steps = event_writer(folder, last - num_steps)
        for name, values in self.steps.items():
            for step, value in enumerate(values.tolist(), start=last - num_steps + 1):
                self._tensorboard_of_steps.add_scalar(f"train/{name}", value, step)

    def curves(self, metric: str, y_label: str) -> None:
        """Draws a metric of train and test over the epochs as images/METRIC.png."""
        series = {
            split: [record[f"{split}/{metric}"] for record in self.history]
            for split in ("train", "test")
        }
        title = f"{self.config.system} on {self.dataset.name}"
        plots.curves(self.path(f"images/{metric}.png"), series, "epoch", y_label, title)

    def epochs(self, every: int | None = None, watch: Watch | None = None) -> Iterator[PyTree]:
        """Trains to --num-epochs, yielding the state after each epoch for the body to draw.

        When the body is done, the epoch is written to metrics.jsonl and TensorBoard, and saved.

        Args:
          every: where the learner's epoch can be done in stretches, as that of
            `learners.adversarial` can: look at the state whenever the number of steps since the
            start of the run is a multiple of this.
          watch: called then with (state, number of steps, means of the metrics since the last
            call or the start of the epoch); it must neither keep nor change the state.
        """
        if self.epoch:
            self.note(f"resuming after epoch {self.epoch}")
        on_terminal = sys.stderr.isatty()
        bar = tqdm(
            total=self.config.num_epochs,
            initial=self.epoch,
            unit="epoch",
            disable=not on_terminal,
            dynamic_ncols=True,
        )
        with bar:
            while self.epoch < self.config.num_epochs:
                record = self._train_epoch(every, watch)
                self.history.append(record)
                rate = len(self._train_images) / record["seconds"]
                self.note(epoch_line(record, self.config.num_epochs, rate))
                yield self.state
                self._save(record)
                bar.set_postfix_str(f"loss {short(headline(record))}, {rate:,.0f} images/s")
                bar.update()

    def _train_epoch(self, every: int | None, watch: Watch | None) -> dict[str, Any]:
        epoch = self.epoch + 1
        if every is None or watch is None:
            start = time.perf_counter()
            self.state, steps = self.learner.epoch(
                self.state, self._train_images, self.key("train", epoch), **self._train_labels
            )
            self.steps = {name: np.asarray(values, np.float64) for name, values in steps.items()}
            train, num_steps = means_over_images(self.steps)
            seconds = time.perf_counter() - start
        else:
            train, num_steps, seconds = self._train_in_stretches(epoch, every, watch)
        # The same key every epoch: the estimate's noise then does not move the curve.
        test = self.learner.evaluate(
            self.state, self.test.images, self.key("evaluate"), **self._test_labels
        )
        record = {
            "epoch": epoch,
            "step": epoch * num_steps,
            "seconds": round(seconds, 4),
            **named("train", train),
            **named("test", {name: float(value) for name, value in test.items()}),
        }
        broken = [name for name, value in record.items() if not np.isfinite(value)]
        if broken:
            raise UserError(
                f"{', '.join(broken)} became {record[broken[0]]} in epoch {epoch}: "
                "lower --learning-rate"
            )
        return record

    def _train_in_stretches(
        self, epoch: int, every: int, watch: Watch
    ) -> tuple[dict[str, float], int, float]:
        """An epoch interrupted by `watch`, whose time does not count."""
        before = self.history[-1]["step"] if self.history else 0
        stretches: list[dict[str, np.ndarray]] = []
        first, num_steps, seconds = 0, 1, 0.0
        while first < num_steps:
            stop = first + every - (before + first) % every
            start = time.perf_counter()
            # The same key all along: it shuffles the epoch, of which these are some steps.
            self.state, steps = self.learner.epoch(
                self.state,
                self._train_images,
                self.key("train", epoch),
                start=first,
                stop=stop,
                **self._train_labels,
            )
            host = {name: np.asarray(values) for name, values in steps.items()}
            seconds += time.perf_counter() - start
            num_steps = len(host["num_images"])
            stretches.append({name: values[first:stop] for name, values in host.items()})
            if stop <= num_steps:
                watch(self.state, before + stop, means_over_images(stretches[-1])[0])
            first = stop
        names = stretches[0]
        steps = {name: np.concatenate([part[name] for part in stretches]) for name in names}
        return means_over_images(steps)[0], num_steps, seconds

    def _save(self, record: dict[str, Any]) -> None:
        self._workdir.append(record)
        for name, value in record.items():
            if "/" in name:
                self._tensorboard.add_scalar(name, value, record["epoch"])
        metadata = record | {"seconds": self._seconds()}
        self._checkpoints.save(record["step"], self.state, metadata)

    def _seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._checkpoints.close()
        self._tensorboard.close()
        if self._tensorboard_of_steps is not None:
            self._tensorboard_of_steps.close()
        if kind is None:
            self._summarise()
            self.note(f"results are in {self._workdir.path}")
        elif kind is KeyboardInterrupt:
            self.note(
                f"interrupted: {self._workdir.path} resumes from its last whole epoch "
                "with the same command"
            )

    def _summarise(self) -> None:
        last = self.history[-1]
        # The first epoch of a process compiles.
        steady = [record["seconds"] for record in self.history[1:]] or [last["seconds"]]
        steps_per_epoch = last["step"] // last["epoch"]
        self._workdir.write_summary(
            {
                "system": self.config.system,
                "dataset": self.dataset.name,
                **{name: value for name, value in last.items() if name != "seconds"},
                "total_seconds": round(self._seconds(), 2),
                "compile_seconds": round(self._compile_seconds.total, 2),
                "steps_per_second": round(steps_per_epoch / float(np.median(steady)), 2),
            }
        )
