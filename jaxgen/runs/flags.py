"""The command line of an experiment: its system's keyword arguments and the flags common to all."""

import dataclasses
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import docstring_parser
import tyro

from jaxgen.data.resizing import Fit
from jaxgen.runs.common_flags import common_flags, flag
from jaxgen.runs.processes import SINGLE, Place
from jaxgen.runs.saving import Settings
from jaxgen.types import Learner


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
        flag(p.name, *_type_and_default(p), explained.get(p.name, ""))
        for p in inspect.signature(system).parameters.values()
        if not _is_for_python(p) and p.name not in without
    ]
    own_names = [field[0] for field in own]
    common = [
        field
        for field in common_flags(Path("runs") / name, dataset, num_epochs)
        if field[0] not in own_names and field[0] not in without
    ]
    more = [flag(name, *described) for name, described in (extra or {}).items()]
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
