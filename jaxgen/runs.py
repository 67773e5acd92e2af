"""The loop: one run of one system, from the command line to a folder of results.

    with runs.start(systems.vae_mnist, num_epochs=15) as run:
        for state in run.epochs():
            run.draw("samples", images.grid(run.learner.sample(state, 128, run.key("samples"))))

`epochs` trains, evaluates, records and saves; the body of the loop draws. Run again, the same
command goes on where the last one stopped.
"""

import dataclasses
import importlib.metadata
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from jaxgen import data, flags, images
from jaxgen.checkpoints import Checkpoints
from jaxgen.data.cache import directory, private_folder
from jaxgen.errors import UserError, expect_at_least
from jaxgen.types import Array, Dataset, Learner, PyTree, Split
from jaxgen.workdir import Workdir

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

Watch = Callable[[PyTree, int, dict[str, float]], None]
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class Run:
    """One run: its data, its learner and its folder. Made by `start`.

    Attributes:
      config: what the command line asked for.
      dataset: the data.
      test: the held-out split, its images on the device.
      learner: the system.
      state: the newest state; donated to the next epoch, so never keep it across epochs.
      history: one record an epoch, as in metrics.jsonl.
      steps: the metrics of each step of the newest epoch, [num_steps].
    """

    def __init__(self, config: flags.Config, dataset: Dataset, learner: Learner, workdir: Workdir):
        self.config = config
        self.dataset = dataset
        self.learner = learner
        self._workdir = workdir
        self._started = time.perf_counter()
        self._compile_seconds = _CompileSeconds()
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
            epoch, self.state, metadata = restored
            self.history = workdir.read_history(epoch)
            self._earlier_seconds = metadata["seconds"]
        if self.epoch > config.num_epochs:
            raise UserError(
                f"{workdir.path} holds {self.epoch} epochs, more than --num-epochs "
                f"{config.num_epochs}: ask for more, or --overwrite to start anew"
            )
        workdir.write_config(_record(config, dataset))
        self._tensorboard = _tensorboard(workdir.path / "tensorboard", self.epoch)
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
        images.save(self.path(f"images/{name}-{self.epoch:03d}.png"), picture)
        self._tensorboard.add_image(name, np.asarray(picture), self.epoch, dataformats="HWC")

    def write_steps(self) -> None:
        """Writes the metrics of each step of the newest epoch for TensorBoard, as train/..."""
        last = self.history[-1]["step"]
        num_steps = len(self.steps["num_images"])
        if self._tensorboard_of_steps is None:
            folder = self.path("tensorboard/steps")
            self._tensorboard_of_steps = _tensorboard(folder, last - num_steps)
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
        images.curves(self.path(f"images/{metric}.png"), series, "epoch", y_label, title)

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
                self.note(_line(record, self.config.num_epochs, rate))
                yield self.state
                self._save(record)
                bar.set_postfix_str(f"loss {_short(_headline(record))}, {rate:,.0f} images/s")
                bar.update()

    def _train_epoch(self, every: int | None, watch: Watch | None) -> dict[str, Any]:
        epoch = self.epoch + 1
        if every is None or watch is None:
            start = time.perf_counter()
            self.state, steps = self.learner.epoch(
                self.state, self._train_images, self.key("train", epoch), **self._train_labels
            )
            self.steps = {name: np.asarray(values, np.float64) for name, values in steps.items()}
            train, num_steps = _means(self.steps)
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
            **_named("train", train),
            **_named("test", {name: float(value) for name, value in test.items()}),
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
                self.state, self._train_images, self.key("train", epoch), first, stop
            )
            host = {name: np.asarray(values) for name, values in steps.items()}
            seconds += time.perf_counter() - start
            num_steps = len(host["num_images"])
            stretches.append({name: values[first:stop] for name, values in host.items()})
            if stop <= num_steps:
                watch(self.state, before + stop, _means(stretches[-1])[0])
            first = stop
        names = stretches[0]
        steps = {name: np.concatenate([part[name] for part in stretches]) for name in names}
        return _means(steps)[0], num_steps, seconds

    def _save(self, record: dict[str, Any]) -> None:
        self._workdir.append(record)
        for name, value in record.items():
            if "/" in name:
                self._tensorboard.add_scalar(name, value, record["epoch"])
        self._checkpoints.save(record["epoch"], self.state, {"seconds": self._seconds()})

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


def start(
    system: Callable[..., Learner],
    *,
    num_epochs: int,
    dataset: str = "auto",
    args: list[str] | None = None,
) -> Run:
    """Reads the command line, loads the data, builds the system and opens the workdir.

    Nothing is written before everything that was asked for is known to make sense.

    Args:
      system: a function of `systems`.
      num_epochs: default of --num-epochs.
      dataset: default of --dataset.
      args: the words of the command line; None for those the process was started with.

    Raises:
      UserError: what the user asked for cannot be had; the message says why and what to do.
    """
    _keep_compiled_programs()
    config = flags.parse(system, num_epochs=num_epochs, dataset=dataset, args=args)
    expect_at_least("--num-epochs", config.num_epochs, 1)
    expect_at_least("--seed", config.seed, 0)
    if config.seed >= 2**32:
        raise UserError(f"expected --seed below 2**32, got {config.seed}")

    resolution = config.hyperparameters.get("resolution")
    loaded = data.load(
        config.dataset, config.data_dir, resolution=resolution, fit=config.fit, seed=config.seed
    )
    shape = loaded.train.images.shape[1:]
    known = config.hyperparameters | _known_from_data(config, loaded)
    config = dataclasses.replace(config, hyperparameters=known)
    learner = system(**known)
    jax.eval_shape(learner.init, jax.random.key(0))  # the networks check their sizes when traced
    num_examples = _num_examples(config, loaded)
    if config.hyperparameters["batch_size"] > num_examples:
        raise UserError(
            f"--batch-size {config.hyperparameters['batch_size']} exceeds the {num_examples} "
            "training images: choose a smaller one"
        )

    workdir = Workdir(config.workdir, _record(config, loaded), config.overwrite)
    run = Run(config, loaded, learner, workdir)
    run.note(
        f"{config.system} on {loaded.name}: {num_examples:,} training and "
        f"{len(loaded.test.images):,} test images of {'x'.join(map(str, shape))}, "
        f"{jax.devices()[0].device_kind}, into {config.workdir}"
    )
    return run


def command(main: Callable[[], None]) -> None:
    """Runs a script's main; a mistake of the user ends it with one line and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _keep_compiled_programs() -> None:
    """Lets the next run of the same configuration start without compiling.

    Compiling vae_mnist takes longer than an epoch of it. The cache runs what it holds, so its
    folder is the user's own. Where the user has chosen a folder (JAX_COMPILATION_CACHE_DIR), or
    none can be had, JAX's configuration stays as it is.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    try:
        folder = private_folder(directory() / "compiled")
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _known_from_data(config: flags.Config, dataset: Dataset) -> dict[str, Any]:
    """The keyword arguments that the data set decides, after a look at what was asked for."""
    shape = dataset.train.images.shape[1:]
    known: dict[str, Any] = {}
    if "num_classes" in config.hyperparameters:
        _check_labels(dataset, config.hyperparameters["num_classes"])
    if config.hyperparameters.get("num_steps", 0) is None:
        batch_size = max(config.hyperparameters["batch_size"], 1)
        known["num_steps"] = config.num_epochs * -(-_num_examples(config, dataset) // batch_size)
    if "image_channels" in config.hyperparameters:
        if config.hyperparameters["image_channels"] != shape[-1]:
            raise UserError(
                f"the images of {dataset.name} have {shape[-1]} channels, not "
                f"{config.hyperparameters['image_channels']}: pass --image-channels {shape[-1]}"
            )
        return known
    if tuple(config.hyperparameters["image_shape"] or shape) != shape:
        raise UserError(f"the images of {dataset.name} are {shape}: leave --image-shape out")
    return known | {"image_shape": shape}


def _check_labels(dataset: Dataset, num_classes: int) -> None:
    labels = [split.labels for split in dataset.splits.values()]
    if any(of_split is None for of_split in labels):
        raise UserError(
            f"{dataset.name} has no labels, and this system is conditional on them: "
            "choose another --dataset"
        )
    largest = max(int(of_split.max()) for of_split in labels if of_split is not None)
    if largest >= num_classes:
        raise UserError(
            f"{dataset.name} has labels up to {largest}, more than --num-classes {num_classes} "
            f"allows: pass --num-classes {largest + 1}"
        )


def _num_examples(config: flags.Config, dataset: Dataset) -> int:
    available = len(dataset.train.images)
    if config.num_examples is None:
        return available
    if not 1 <= config.num_examples <= available:
        raise UserError(
            f"expected --num-examples between 1 and the {available} of {dataset.name}, "
            f"got {config.num_examples}"
        )
    return config.num_examples


def _record(config: flags.Config, dataset: Dataset) -> dict[str, Any]:
    """What config.json says."""
    device = jax.devices()[0]
    return {
        "system": config.system,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "num_epochs": config.num_epochs,
        "num_examples": _num_examples(config, dataset),
        "seed": config.seed,
        **config.hyperparameters,
        **({"fit": config.fit} if "resolution" in config.hyperparameters else {}),
        "image_shape": dataset.train.images.shape[1:],
        "versions": {
            "python": platform.python_version(),
            **{
                package: importlib.metadata.version(package)
                for package in ("jaxgen", "jax", "flax", "optax", "numpy")
            },
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
    }


def _means(steps: dict[str, np.ndarray]) -> tuple[dict[str, float], int]:
    """Means over an epoch's images, and its number of steps."""
    weights = steps["num_images"]
    means = {
        name: float(np.average(values, weights=weights))
        for name, values in steps.items()
        if name != "num_images"
    }
    return means, len(weights)


def _tensorboard(folder: Path, done: int) -> "SummaryWriter":
    """A writer of events that makes TensorBoard forget what an earlier run wrote after `done`."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1, flush_secs=10)


def _named(split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Metrics under the name of their split, losses first."""
    names = sorted(metrics, key=lambda name: (not name.endswith("loss"), name))
    return {f"{split}/{name}": metrics[name] for name in names}


def _headline(record: dict[str, Any]) -> float:
    """The number that a progress bar shows: the first loss the system reports."""
    return next(value for name, value in record.items() if name.startswith("train/"))


def _line(record: dict[str, Any], num_epochs: int, rate: float) -> str:
    """An epoch in one line, each metric with its held-out value beside it."""
    numbers = []
    for name, value in record.items():
        split, _, metric = name.partition("/")
        if split == "train":
            held_out = record.get(f"test/{metric}")
            beside = "" if held_out is None else f" (test {_short(held_out)})"
            numbers.append(f"{metric} {_short(value)}{beside}")
        elif split == "test" and f"train/{metric}" not in record:
            numbers.append(f"{metric} {_short(value)}")
    return f"epoch {record['epoch']}/{num_epochs}: {', '.join(numbers)}; {rate:,.0f} images/s"


def _short(value: float) -> str:
    """Two decimals, or three digits where those would be lost."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


class _CompileSeconds:
    """Seconds that XLA has spent compiling since this was made."""

    def __init__(self) -> None:
        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self.total += duration_secs
