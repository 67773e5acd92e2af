"""The command line of an experiment: its system's keyword arguments and the flags common to all."""

import dataclasses
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import docstring_parser
import tyro

from jaxgen.data.resizing import Fit
from jaxgen.runs.processes import SINGLE, Place
from jaxgen.runs.saving import Settings
from jaxgen.types import Learner

DATA_HELP = (
    "data set: auto (MNIST if it can be had, else drawn glyphs), mnist, fashion_mnist, kmnist, "
    "binarized_mnist, glyphs, tfds:NAME (any tensorflow-datasets image set), idx:DIR, folder:DIR, "
    "npy:DIR or npz:FILE"
)


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What the command line of a system's run asks for.

    Attributes:
      workdir: where the run's files go.
      dataset: what `data.load` is asked for.
      data_dir: where prepared data sets live; None for the default.
      resolution: height and width to resize images to; None to leave them as they are.
      fit: how images become squares.
      num_epochs: epochs to train in all.
      num_examples: train on the first so many images; None for all.
      seed: where every random choice of the run comes from.
      init_from: workdir or file of weights to start from; None for random weights.
      validation_fraction: share of the training images that is held out for validation.
      on_nonfinite: what becomes of an update that is not finite.
      settings: how the run is saved and shown.
      compilation_cache: whether compiled programs are kept for the next process.
      overwrite: whether to delete what workdir holds.
      hyperparameters: the system's keyword arguments; image_shape and num_steps are None until
        the data are known.
      stream: whether training images are read while they are used; where not, the memory decides.
      fast_fingerprint: whether the files of a streamed set are known by their times alone.
      place: where this process stands among those of the run.
      extra: the values of flags that only this command has.
    """

    workdir: Path
    dataset: str
    data_dir: Path | None
    resolution: int | None
    fit: Fit
    num_epochs: int
    num_examples: int | None
    seed: int
    settings: Settings
    compilation_cache: bool
    overwrite: bool
    hyperparameters: dict[str, Any]
    init_from: Path | None = None
    validation_fraction: float = 0.0
    on_nonfinite: str = "stop"
    stream: bool = False
    fast_fingerprint: bool = False
    place: Place = SINGLE
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def parse(
    system: Callable[..., Learner],
    *,
    num_epochs: int,
    dataset: str = "auto",
    args: Sequence[str] | None = None,
    prog: str | None = None,
    extra: Mapping[str, tuple[Any, Any, str]] | None = None,
    without: Container[str] = (),
) -> CommandLine:
    """Reads the command line of a system's run.

    Args:
      system: a function of `systems`; each of its keyword arguments that is a plain value becomes
        a flag with the argument's type and default, explained by the function's docstring.
      num_epochs: default of --num-epochs.
      dataset: default of --dataset.
      args: the words of the command line; None for those the process was started with.
      prog: how the command is called in --help; by default as the experiment of the system.
      extra: more flags: name -> (type, default, explanation).
      without: names of flags that this command does not have.

    Raises:
      SystemExit: after --help, and where a flag is unknown or ill-typed.
    """
    name = system.__name__
    docs = docstring_parser.parse(system.__doc__ or "")
    explained = {p.arg_name: " ".join((p.description or "").split()) for p in docs.params}
    own = [
        _flag(p.name, *_type_and_default(p), explained.get(p.name, ""))
        for p in inspect.signature(system).parameters.values()
        if not _is_for_python(p) and p.name not in without
    ]
    own_names = [field[0] for field in own]
    common = [
        field
        for field in _common_flags(Path("runs") / name, dataset, num_epochs)
        if field[0] not in own_names and field[0] not in without
    ]
    more = [_flag(name, *described) for name, described in (extra or {}).items()]
    flags = dataclasses.make_dataclass("Flags", more + common + own, frozen=True)
    parsed = tyro.cli(
        flags,
        prog=prog or f"{name}.py",
        description=docs.short_description,
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(flags)}
    hyperparameters = {name: values[name] for name in own_names}
    fields = {field.name for field in dataclasses.fields(CommandLine)} & values.keys()
    return CommandLine(
        hyperparameters=hyperparameters,
        settings=Settings(**{f: values[f] for f in Settings._fields if f in values}),
        place=Place(*(values.get(field) for field in Place._fields)),
        extra={name: values[name] for name in extra or {}},
        **{field: values[field] for field in fields},
    )


def _common_flags(workdir: Path, dataset: str, num_epochs: int) -> list[tuple[str, Any, Any]]:
    return [
        _flag("workdir", Path, workdir, "where the run's files go"),
        _flag("dataset", str, dataset, DATA_HELP),
        _flag(
            "data_dir",
            Path | None,
            None,
            "where prepared data sets live (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        ),
        _flag(
            "resolution",
            int | None,
            None,
            "height and width that images are resized to (default: as they are, and the size that "
            "the system was published at where they differ in size)",
        ),
        _flag("fit", Fit, "crop", "how an image becomes square: crop the middle out, or squash it"),
        _flag(
            "stream",
            bool,
            False,
            "read training images from disk while they are used (default: where they would take "
            "more than half of the available memory)",
        ),
        _flag(
            "fast_fingerprint",
            bool,
            False,
            "know the files of a streamed set by their names, sizes and times, without reading "
            "them at the start",
        ),
        _flag("num_epochs", int, num_epochs, "passes over the training images, in all"),
        _flag("num_examples", int | None, None, "train on the first so many images only"),
        _flag("seed", int, 0, "where every random choice of the run comes from"),
        _flag(
            "init_from",
            Path | None,
            None,
            "workdir or file of weights to start from, with a fresh optimizer",
        ),
        _flag("pictures", bool, True, "draw no pictures"),
        _flag(
            "evaluate",
            bool,
            False,
            "measure likelihood and sample quality at the end, as jaxgen evaluate",
        ),
        _flag(
            "checkpoint_every",
            int | None,
            None,
            "save whenever the number of steps is a multiple of this (default: after each epoch)",
        ),
        _flag("keep", int, 2, "how many of the newest checkpoints are kept"),
        _flag(
            "keep_best",
            str | None,
            None,
            "metric of the validation split, such as loss: the best checkpoint is kept besides",
        ),
        _flag(
            "validation_fraction",
            float,
            0.0,
            "share of the training images that is held out as a validation split",
        ),
        _flag(
            "on_nonfinite",
            Literal["stop", "skip"],
            "stop",
            "stop the run at a loss or gradient that is not finite, or leave such updates out",
        ),
        _flag(
            "devices",
            int | Literal["all"],
            1,
            "how many devices share every batch, or all; on a CPU so many are made",
        ),
        _flag(
            "coordinator",
            str | None,
            None,
            "HOST:PORT of the first of several processes, or auto to find it in the environment "
            "of a cluster (default: a single process)",
        ),
        _flag("num_processes", int | None, None, "how many processes share every batch"),
        _flag("process_id", int | None, None, "which of the processes this is, from 0"),
        _flag(
            "compilation_cache",
            bool,
            True,
            "neither read nor keep compiled programs in the user's cache",
        ),
        _flag("overwrite", bool, False, "delete what workdir holds and start from nothing"),
    ]


def _flag(name: str, kind: Any, default: Any, explanation: str) -> tuple[str, Any, Any]:
    annotated = Annotated[kind, tyro.conf.arg(help=explanation)]
    return name, annotated, dataclasses.field(default=default)


def _is_for_python(parameter: inspect.Parameter) -> bool:
    """Whether no word of a command line can be such an argument, as with an optimizer."""
    return not _kinds(parameter.annotation)


def _kinds(annotation: Any) -> list[Any]:
    """The members of an annotation that a word can be: no functions, arrays or optimizers."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    plain = (int, float, str, bool, tuple, Literal)
    kinds = [kind for kind in members if kind in plain or get_origin(kind) in plain]
    return [*kinds, NoneType] if kinds and NoneType in members else kinds


def _type_and_default(parameter: inspect.Parameter) -> tuple[Any, Any]:
    # The data set knows image_shape, a flag only asserts it; num_steps follows from num_epochs.
    if parameter.name in ("image_shape", "num_steps"):
        return parameter.annotation | None, None
    return Union[tuple(_kinds(parameter.annotation))], parameter.default  # noqa: UP007
