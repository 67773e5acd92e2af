"""From the command line to a run of a named system."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxgen import _checks, data
from jaxgen._files import expanded
from jaxgen.errors import UserError
from jaxgen.runs import flags, processes
from jaxgen.runs.backend import keep_compiled_programs, keep_no_compiled_programs
from jaxgen.runs.console import in_notebook
from jaxgen.runs.devices import provide
from jaxgen.runs.loading import streaming_of
from jaxgen.runs.loop import Run
from jaxgen.runs.opening import count_examples, open_run
from jaxgen.runs.recorded import read_config
from jaxgen.types import Dataset, Learner


def start(
    system: Callable[..., Learner],
    *,
    num_epochs: int,
    dataset: str = "auto",
    args: Sequence[str] | None = None,
    prog: str | None = None,
) -> Run:
    """Reads the command line, loads the data, builds the system and opens the workdir.

    Nothing is written before everything that was asked for is known to make sense.

    Args:
      system: a function of `systems`.
      num_epochs: default of --num-epochs.
      dataset: default of --dataset.
      args: the words of the command line; None for those the process was started with, and for
        none of them in a notebook.
      prog: how the command is called in --help; by default as the experiment of the system.

    Raises:
      UserError: what the user asked for cannot be had; the message says why and what to do.
    """
    if args is None and in_notebook():  # the words there are the kernel's own
        args = []
    asked = flags.parse(system, num_epochs=num_epochs, dataset=dataset, args=args, prog=prog)
    processes.join(asked.place)
    parts = prepare(asked, system)
    return open_run(
        system(**parts.hyperparameters),
        parts.dataset,
        num_epochs=asked.num_epochs,
        workdir=asked.workdir,
        seed=asked.seed,
        num_examples=asked.num_examples,
        system=system.__name__,
        hyperparameters=parts.hyperparameters,
        origin=parts.origin,
        following=parts.following,
        init_from=asked.init_from,
        on_nonfinite=asked.on_nonfinite,
        settings=asked.settings,
        overwrite=asked.overwrite,
    )


class Parts(NamedTuple):
    """What a command line of a system's run comes to, once the data are known.

    Attributes:
      dataset: the data, with a validation split where one was asked for.
      hyperparameters: all keyword arguments of the system.
      origin: what config.json is to record of where the data come from.
      following: hyperparameters that follow from the number of epochs.
    """

    dataset: Dataset
    hyperparameters: dict[str, Any]
    origin: dict[str, Any]
    following: tuple[str, ...]


def prepare(asked: flags.CommandLine, system: Callable[..., Learner]) -> Parts:
    """Loads the data, and completes the hyperparameters by what the data decide.

    Raises:
      UserError: what was asked for contradicts itself or the data, or there is no device.
    """
    _checks.whole_number("--num-epochs", asked.num_epochs)
    provide(asked.settings.devices)
    if asked.compilation_cache:
        keep_compiled_programs()
    else:
        keep_no_compiled_programs()
    dataset, resolution = _load(asked, system)
    dataset = data.with_validation(dataset, asked.validation_fraction)
    num_examples = count_examples(dataset, asked.num_examples)
    known = asked.hyperparameters | _known_from_data(asked, dataset, num_examples)
    batch_size = known["batch_size"]
    if batch_size > num_examples:
        raise UserError(
            f"--batch-size {batch_size} exceeds the {num_examples} training images: "
            "choose a smaller one"
        )
    origin: dict[str, Any] = {"data_dir": None if asked.data_dir is None else str(asked.data_dir)}
    if resolution is not None:
        origin |= {"resolution": resolution, "fit": asked.fit}
    if asked.validation_fraction:
        origin["validation_fraction"] = asked.validation_fraction
    follows = asked.hyperparameters.get("num_steps", 0) is None
    return Parts(dataset, known, origin, ("num_steps",) if follows else ())


def _load(asked: flags.CommandLine, system: Callable[..., Learner]) -> tuple[Dataset, int | None]:
    """The data, and the resolution that they were resized to; None as they are.

    Images that differ in size, as photographs do, are resized to the size that the system was
    published at.
    """
    shape = asked.hyperparameters.get("image_shape")
    if shape is not None and asked.resolution not in (None, shape[0]):
        raise UserError(
            f"--image-shape {shape[0]} {shape[1]} contradicts --resolution {asked.resolution}: "
            "leave --image-shape out"
        )

    streaming = _streaming(asked)

    def load(resolution: int | None) -> tuple[Dataset, int | None]:
        options = {"resolution": resolution, "fit": asked.fit, "seed": asked.seed, **streaming}
        return data.load(asked.dataset, asked.data_dir, **options), resolution

    try:
        return load(asked.resolution)
    except data.SizesDifferError:
        return load(_published_size(system) if shape is None else shape[0])


def _streaming(asked: flags.CommandLine) -> dict[str, Any]:
    """How `data.load` is to read the data: a run that resumes reads them as before."""
    folder = expanded(asked.workdir)
    if (folder / "config.json").is_file() and not asked.overwrite:
        recorded = streaming_of(read_config(folder))
        return {
            "stream": asked.stream or recorded["stream"],
            "fast_fingerprint": asked.fast_fingerprint or recorded["fast_fingerprint"],
        }
    return {"stream": asked.stream or None, "fast_fingerprint": asked.fast_fingerprint}


def _published_size(system: Callable[..., Learner]) -> int:
    return inspect.signature(system).parameters["image_shape"].default[0]


def _known_from_data(
    asked: flags.CommandLine, dataset: Dataset, num_examples: int
) -> dict[str, Any]:
    """The keyword arguments that the data set decides, after a look at what was asked for."""
    shape = dataset.train.images.shape[1:]
    known: dict[str, Any] = {}
    if asked.hyperparameters.get("num_steps", 0) is None:
        batch_size = max(asked.hyperparameters["batch_size"], 1)
        known["num_steps"] = asked.num_epochs * -(-num_examples // batch_size)
    if "image_channels" in asked.hyperparameters:
        if asked.hyperparameters["image_channels"] != shape[-1]:
            raise UserError(
                f"the images of {dataset.name} have {shape[-1]} channels, not "
                f"{asked.hyperparameters['image_channels']}: pass --image-channels {shape[-1]}"
            )
        return known
    if tuple(asked.hyperparameters["image_shape"] or shape) != shape:
        raise UserError(f"the images of {dataset.name} are {shape}: leave --image-shape out")
    return known | {"image_shape": shape}
