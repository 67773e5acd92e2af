"""Opens a run: whether its parts fit together, and the record of everything it depends on."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax

import jaxgen
from jaxgen import _checks, data
from jaxgen._files import expanded, printable
from jaxgen.errors import UserError
from jaxgen.learners.data_parallelism import check_divides
from jaxgen.runs import initial_weights, processes
from jaxgen.runs.backend import first_device
from jaxgen.runs.devices import Devices, provide
from jaxgen.runs.loop import Run
from jaxgen.runs.saving import Settings
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Dataset, Learner, PyTree

MAX_SEED = 2**32 - 1
DEFAULTS = Settings()


def open_run(
    learner: Learner,
    dataset: Dataset,
    *,
    num_epochs: int,
    workdir: str | os.PathLike[str],
    seed: int = 0,
    num_examples: int | None = None,
    system: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    following: Sequence[str] = (),
    state: PyTree | None = None,
    init_from: str | os.PathLike[str] | None = None,
    on_nonfinite: str = "stop",
    settings: Settings = DEFAULTS,
    overwrite: bool = False,
) -> Run:
    """Opens a new run, or one to resume.

    Nothing is written before everything that was asked for is known to make sense.

    Args:
      learner: what to train.
      dataset: the data.
      num_epochs: passes over the training images, in all.
      workdir: the folder of the run.
      seed: of every random choice of the run.
      num_examples: train on the first so many images; None for all.
      system: name of the system that the learner is; None for one of the user's own.
      hyperparameters: what config.json is to record of the learner.
      origin: what config.json is to record of where the data come from.
      following: hyperparameters that follow from num_epochs and may change with it.
      state: a state whose weights to start from; None for random ones.
      init_from: the same from a workdir or a file.
      on_nonfinite: "stop" or "skip": what becomes of an update that is not finite.
      settings: how the run is saved and shown.
      overwrite: delete an earlier run in workdir first.

    Raises:
      UserError: the parts do not fit together, or the workdir cannot be used.
    """
    _checks.whole_number("--num-epochs", num_epochs)
    _checks.whole_number("--seed", seed, 0, MAX_SEED)
    _checks.one_of("--on-nonfinite", on_nonfinite, ("stop", "skip"))
    settings = settings.checked(dataset)
    num_examples = count_examples(dataset, num_examples)
    check_fit(learner, dataset)
    if on_nonfinite == "skip":
        learner = learner.require("skipping_nonfinite")()
    remark = provide(settings.devices)
    devices = Devices(settings.devices)
    check_divides(learner.batch_size, devices.count)
    jax.eval_shape(learner.init, jax.random.key(0))  # the networks check their sizes when traced
    folder = processes.own_folder(expanded(workdir))
    if not processes.is_first():
        settings = settings._replace(pictures=False, evaluate=False)
    earlier = None if overwrite else folder
    start = initial_weights.start_of(learner, system, state, init_from, earlier)
    config = configuration(
        learner,
        dataset,
        num_epochs=num_epochs,
        num_examples=num_examples,
        seed=seed,
        system=system,
        hyperparameters=hyperparameters,
        origin=origin,
        initial_weights=start.record,
        on_nonfinite=on_nonfinite,
        num_devices=devices.count,
    )
    processes.check_same(config)
    opened = Workdir(folder, config, overwrite, following)
    try:
        run = Run(
            learner,
            dataset,
            opened,
            initial_state=start.initial_state,
            settings=settings,
            devices=devices,
        )
    except BaseException:
        opened.close()
        raise
    _announce(run, devices.count)
    if remark is not None:
        run.note(remark)
    return run


def _announce(run: Run, num_devices: int) -> None:
    """Says what is trained on what, and what its loss is not."""
    density = run.learner.density
    kind = first_device().device_kind
    run.note(
        f"{run.name}: {run.config['num_examples']:,} training and {len(run.test.images):,} test "
        f"images of {'x'.join(map(str, run.image_shape))}, "
        f"{kind if num_devices == 1 else f'{num_devices} devices of kind {kind}'}, "
        f"into {printable(run.workdir)}"
    )
    if density is not None and density.unnormalized is not None:
        run.note(
            f"{density.unnormalized}: loss and elbo compare models of one kind, but are no "
            "bounds on a log-likelihood"
        )


def configuration(
    learner: Learner,
    dataset: Dataset,
    *,
    num_epochs: int,
    num_examples: int,
    seed: int,
    system: str | None,
    hyperparameters: Mapping[str, Any] | None,
    origin: Mapping[str, Any] | None = None,
    initial_weights: Mapping[str, Any] | None = None,
    on_nonfinite: str = "stop",
    num_devices: int = 1,
) -> dict[str, Any]:
    """What config.json of a run contains: everything that it depends on.

    Args are those of `open_run`, and what the record is to say of the initial weights.

    Raises:
      UserError: JSON cannot hold a hyperparameter.
    """
    return {
        "system": system,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "num_epochs": int(num_epochs),
        "num_examples": int(num_examples),
        "seed": int(seed),
        **(origin or {}),
        **_recordable(hyperparameters or {}),
        "image_shape": learner.image_shape,
        **({"stream": True} if data.is_streamed(dataset) else {}),
        **(initial_weights or {}),
        # Where it is the default it is left out, as in runs of earlier versions.
        **({"on_nonfinite": on_nonfinite} if on_nonfinite != "stop" else {}),
        **_surroundings(num_devices),
    }


def count_examples(dataset: Dataset, num_examples: int | None) -> int:
    """How many training images a run uses; `num_examples` None for all.

    Raises:
      UserError: more than there are, or none.
    """
    available = len(dataset.train.images)
    if num_examples is None:
        return available
    return _checks.whole_number("--num-examples", num_examples, 1, available)


def check_fit(learner: Learner, dataset: Dataset) -> None:
    """Raises UserError where the data are not what the learner takes: shapes, values, labels."""
    data.check(dataset)
    shape = dataset.train.images.shape[1:]
    if shape != learner.image_shape:
        raise UserError(
            f"the images of {dataset.name} are {shape}, the learner takes {learner.image_shape}: "
            "build it with the image_shape of the data"
        )
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        if not len(split.images):
            raise UserError(f"{dataset.name} has no {name} images: choose another data set")
    if not learner.num_classes:
        return
    for name, (images, labels) in (("training", dataset.train), ("test", dataset.test)):
        if labels is None:
            raise UserError(
                f"{dataset.name} has no labels, and this learner is conditional on them: "
                "choose another --dataset"
            )
        name = f"the {name} labels of {dataset.name}"
        _checks.check_labels(labels, len(images), learner.num_classes, name)


def _recordable(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters, checked to be what config.json can hold."""
    for name, value in hyperparameters.items():
        try:
            json.dumps({name: value}, allow_nan=False)
        except (TypeError, ValueError):
            raise UserError(
                f"expected hyperparameters that JSON can hold, got {name}={value!r}: "
                "describe it by a number or a string"
            ) from None
    return dict(hyperparameters)


def _surroundings(num_devices: int) -> dict[str, Any]:
    """Versions and devices."""
    device = first_device()
    return {
        "versions": jaxgen.versions(),
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": num_devices,
        },
    }
