"""Opens a finished or interrupted run: `load(workdir)`."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxgen import data, systems
from jaxgen._files import expanded, printable
from jaxgen.data.storage.fingerprints import BY_TIME
from jaxgen.errors import UserError
from jaxgen.runs.checkpoints import Checkpoint, Checkpoints
from jaxgen.runs.recorded import damaged, read_config, read_history
from jaxgen.runs.saving import KEEP_BEST
from jaxgen.types import Dataset, Learner, PyTree


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """What a run has learned.

    Attributes:
      learner: what was trained.
      state: its state after the last saved epoch.
      config: what config.json contains.
      history: one record per epoch that the state has seen, as in metrics.jsonl.
      workdir: the folder of the run.
    """

    learner: Learner
    state: PyTree
    config: dict[str, Any]
    history: list[dict[str, Any]]
    workdir: Path

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The keyword arguments of the system; {} for a learner of the user's own."""
        system = self.config["system"]
        return {} if system is None else _keywords(system, self.config)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data of the run, loaded when first asked for.

        Raises:
          UserError: they are not to be had, or not the ones that the run was trained on.
        """
        config = self.config
        options = streaming_of(config)
        try:
            dataset = data.load(
                config["dataset"],
                config.get("data_dir"),
                resolution=config.get("resolution"),
                fit=config.get("fit", "crop"),
                seed=config["seed"],
                **options,
            )
        except UserError as error:
            raise UserError(f"cannot load the data of {printable(self.workdir)}: {error}") from None
        if dataset.fingerprint != config["dataset_fingerprint"]:
            raise UserError(
                f"expected the data that {printable(self.workdir)} was trained on, found others "
                f"under {config['dataset']}: restore them"
            )
        return data.with_validation(dataset, config.get("validation_fraction", 0.0))


def streaming_of(config: Mapping[str, Any]) -> dict[str, bool]:
    """The arguments of `data.load` that stream the data of a run as they were."""
    fingerprint = str(config.get("dataset_fingerprint"))
    return {
        "stream": bool(config.get("stream")),
        "fast_fingerprint": fingerprint.startswith(BY_TIME),
    }


def load(
    workdir: str | os.PathLike[str], which: str | int = "last", learner: Learner | None = None
) -> TrainedRun:
    """Opens a finished or interrupted run, and changes nothing in its folder.

    Args:
      workdir: the folder of the run.
      which: "last": the newest whole checkpoint; "best": the one with the best value of the metric
        that the run was given as --keep-best; a number: that of this step.
      learner: what was trained, for a run of a learner of the user's own; None for one of
        `systems`, which is built as config.json describes it.

    Raises:
      UserError: the folder holds no run, no whole checkpoint, or a run of another learner.

    Example:
      >>> from jaxgen import runs
      >>> run = runs.load("runs/vae_mnist")  # doctest: +SKIP
      >>> images = run.learner.sample(run.state, 16, jax.random.key(0))  # doctest: +SKIP
    """
    if isinstance(which, str) and which.isdecimal():  # a word of a command line
        which = int(which)
    if which not in ("last", "best") and not isinstance(which, int):
        raise UserError(f"expected which to be 'last', 'best' or a step, got {which!r}")
    folder = expanded(workdir)
    if not folder.is_dir():
        raise UserError(
            f"expected the folder of a run at {printable(folder)}, found none: check the path"
        )
    config = read_config(folder)
    if learner is None:
        learner = _named_learner(folder, config)
    template = jax.eval_shape(learner.init, jax.random.key(0))
    found = _checkpoint(folder / "checkpoints", which, template)
    if found is None:
        raise UserError(f"expected a checkpoint in {printable(folder)}, found none: train it first")
    history = read_history(folder, found.metadata["epoch"])
    return TrainedRun(learner, found.state, config, history, folder)


def _checkpoint(folder: Path, which: str | int, template: PyTree) -> Checkpoint | None:
    """The checkpoint that was asked for; None where there is none at all."""
    with Checkpoints(folder, read_only=True) as checkpoints:
        steps = checkpoints.steps()
        if which == "last" or not steps:
            return checkpoints.restore_latest(template)
        if isinstance(which, int):
            found = checkpoints.restore_step(which, template)
            what = f"step {which}"
        else:
            found, what = None, "the best: the run was not given --keep-best"
            if metric := checkpoints.record_of(steps[-1]).get(KEEP_BEST):
                with Checkpoints(folder, keep_best=metric, read_only=True) as by_metric:
                    found = by_metric.restore_best(template)
                what = f"the best {metric}"
    if found is None:
        raise UserError(
            f"expected a checkpoint of {what}, found those of steps {', '.join(map(str, steps))} "
            f"in {printable(folder)}: choose one of them, or last"
        )
    return found


def _named_learner(folder: Path, config: Mapping[str, Any]) -> Learner:
    """The learner of one of `systems` that config.json describes."""
    name = config.get("system")
    if name is None:
        raise UserError(
            f"{printable(folder)} is a run of a learner of your own: open it from Python with "
            "runs.load(workdir, learner=...)"
        )
    if name not in systems.__all__:
        raise UserError(
            f"{printable(folder)} is a run of {name!r}, which this version of jaxgen does not "
            f"have: expected one of {', '.join(systems.__all__)}"
        )
    try:
        return getattr(systems, name)(**_keywords(name, config))
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise damaged(folder / "config.json", error) from error


def _keywords(system: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of config.json that are keyword arguments of the system."""
    names = inspect.signature(getattr(systems, system)).parameters.keys()
    return {
        name: tuple(value) if isinstance(value, list) else value  # JSON has lists for tuples
        for name, value in config.items()
        if name in names
    }
