"""The loop: epochs of training, each evaluated, recorded and saved."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgen._files import printable
from jaxgen._process import deferred
from jaxgen.errors import UserError
from jaxgen.runs import console, processes
from jaxgen.runs.devices import Devices
from jaxgen.runs.evaluating import evaluate_run
from jaxgen.runs.evaluation_tables import table_of_run
from jaxgen.runs.events import TensorBoard
from jaxgen.runs.feeding import labels_of
from jaxgen.runs.keys import indexed_key
from jaxgen.runs.loading import TrainedRun
from jaxgen.runs.reporting import CompileSeconds, epoch_line, headline, short, summary
from jaxgen.runs.reports import LiveReport, write_report
from jaxgen.runs.saving import Settings
from jaxgen.runs.trainer import Trainer
from jaxgen.runs.training import Watch
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Array, Dataset, Learner, PyTree
from jaxgen.visualization import grids, plots


class Run:
    """A run under way: its learner, its data and its folder.

    Made by `start` from a command line, and inside `fit`. A context manager: leaving it waits for
    the last checkpoint and writes summary.json.

    Attributes:
      learner: what is trained.
      dataset: the data.
      test: the held-out split, its images on the device.
      config: what config.json contains: everything that the run depends on.
      name: the system and its data, for titles.
      draws: whether the run draws pictures.
      history: one record per epoch, as in metrics.jsonl.
      steps: the metrics of each step of the newest epoch, [num_steps].
    """

    def __init__(
        self,
        learner: Learner,
        dataset: Dataset,
        workdir: Workdir,
        *,
        initial_state: Callable[[Array], PyTree],
        settings: Settings,
        devices: Devices,
    ):
        self.learner = learner
        self.dataset = dataset
        self.config = workdir.config
        self.name = printable(f"{self.config['system'] or workdir.path.name} on {dataset.name}")
        self.draws = settings.pictures
        self._settings = settings
        self._workdir = workdir
        self._compile_seconds = CompileSeconds()
        self._display = console.Display()
        self._stopped = False
        validates = self.config.get("validation_fraction") or settings.keep_best
        self._trainer = Trainer(
            learner,
            dataset,
            self.config["num_examples"],
            ("test", "validation") if validates else ("test",),
            workdir.path,
            settings,
            devices,
            self.key,
        )
        self.test = self._trainer.test
        self._trainer.begin(initial_state)
        epoch = self._trainer.progress.epoch
        history = workdir.begin(epoch) if processes.is_first() else None
        self.history = processes.from_first(history)
        self.steps: dict[str, np.ndarray] = {}
        workdir.write_config()
        self._tensorboard = TensorBoard(workdir.path / "tensorboard", self.epoch)
        self._report = LiveReport(workdir.path, dataset.train.images)

    @property
    def state(self) -> PyTree:
        """The newest state; donated to the next step, so never keep it across steps."""
        return self._trainer.state

    @property
    def epoch(self) -> int:
        """How many epochs the state has seen."""
        return len(self.history)

    @property
    def step(self) -> int:
        """How many steps the state has seen."""
        return self._trainer.step

    @property
    def earliest_start(self) -> int:
        """The step before the earliest epoch that a checkpoint may return to the midst of."""
        num_steps = self._trainer.num_steps
        return max(0, self._trainer.saving.oldest - 1) // num_steps * num_steps

    @property
    def num_epochs(self) -> int:
        """How many epochs it is to see in all."""
        return self.config["num_epochs"]

    @property
    def workdir(self) -> Path:
        """The folder of the run."""
        return self._workdir.path

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.learner.image_shape

    def key(self, purpose: str, index: int = 0) -> Array:
        """The run's key for one purpose: the same for the same seed, purpose and index."""
        return indexed_key(self.config["seed"], purpose, index)

    def labels(self, labels: np.ndarray | None, count: int | None = None) -> dict[str, Any]:
        """The first `count` labels as a keyword argument, where the learner is conditional."""
        return labels_of(self.learner, labels, count)

    def note(self, text: str) -> None:
        """Writes one line to standard output, without disturbing the progress bar."""
        console.say(text)

    def path(self, name: str) -> Path:
        """A file of the workdir."""
        return self.workdir / name

    def draw(self, name: str, picture: ArrayLike) -> None:
        """Saves a picture of the current epoch as images/NAME-EPOCH.png, and for TensorBoard."""
        path = self.path(f"images/{name}-{self.epoch:03d}.png")
        grids.save(path, grids.legible(picture))
        self._display.show(name, path)
        self._tensorboard.write_picture(name, picture, self.epoch)

    def curves(self, metric: str, y_label: str) -> None:
        """Draws a metric of train and test over the epochs as images/METRIC.png."""
        series = {
            split: [record[f"{split}/{metric}"] for record in self.history]
            for split in ("train", "test")
        }
        plots.curves(self.path(f"images/{metric}.png"), series, "epoch", y_label, self.name)

    def write_steps(self) -> None:
        """Writes the metrics of each step of the newest epoch for TensorBoard, as train/..."""
        self._tensorboard.write_steps(self.steps, self.history[-1]["step"])

    def stop(self) -> None:
        """Ends the run after the current epoch, as if it were the last."""
        self._stopped = True

    def epochs(self, every: int | None = None, watch: Watch | None = None) -> Iterator[PyTree]:
        """Trains to num_epochs, yielding the state after each epoch for the body to draw.

        When the body is done, the epoch is written to metrics.jsonl and TensorBoard, and saved.

        Args:
          every: look at the state whenever the number of steps since the start of the run is a
            multiple of this; None for epochs in one piece.
          watch: called then with (state, number of steps, means of the metrics since the last
            call or the start of the epoch); it must neither keep nor change the state. A run that
            resumes at such a step calls it once more.
        """
        if self.step:
            position = self._trainer.progress.position
            within = f", step {position} of the next" if position else ""
            self.note(f"resuming after epoch {self.epoch}{within}")
        with console.progress_bar(self.num_epochs, self.epoch) as bar:
            while self.epoch < self.num_epochs and not self._stopped:
                with processes.naming_ended_processes():
                    record = self._trainer.train_epoch(every, watch)
                self.steps = dict(self._trainer.progress.steps)
                self.history.append(record)
                rate = self._trainer.num_images / record["seconds"]
                self.note(epoch_line(record, self.num_epochs, rate))
                yield self.state
                with deferred():  # records and checkpoint
                    self._workdir.append(record)
                    self._tensorboard.write_record(record)
                    self._trainer.finish_epoch(record)
                self._report.update()
                bar.set_postfix_str(f"loss {short(headline(record))}, {rate:,.0f} images/s")
                bar.update()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._leave(kind)
        finally:
            self._workdir.close()

    def _evaluate(self) -> None:
        run = TrainedRun(self.learner, self.state, self.config, self.history, self.workdir)
        vars(run)["dataset"] = self.dataset  # it need not be loaded
        self.note(table_of_run(evaluate_run(run)))

    def _leave(self, kind: type[BaseException] | None) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._trainer.save_interrupted()
        try:
            self._trainer.saving.close()
        finally:
            if kind is None:
                self._tensorboard.close()
            else:  # what has failed already may be the disk
                self._tensorboard.abandon()
        if kind is None and not self.history:
            self.note(f"no epoch was trained: {printable(self.workdir)} has no results")
            return
        if kind is None:
            about = {"system": self.config["system"], "dataset": self.dataset.name}
            timings = self._trainer.seconds(), self._compile_seconds.total
            about |= summary(self.history, *timings) | self._trainer.feeding.summary()
            self._workdir.write_summary(about)
            if self._settings.evaluate:
                self._evaluate()
            write_report(self.workdir)
            self._display.show_all(self._workdir.last_pictures())
            self.note(f"results are in {printable(self.workdir)}")
            return
        with suppress(UserError):  # what has failed already may be the disk
            write_report(self.workdir)
        if issubclass(kind, KeyboardInterrupt):
            self.note(
                f"interrupted: {printable(self.workdir)} resumes after step "
                f"{self._trainer.saving.last or 0} with the same command"
            )
