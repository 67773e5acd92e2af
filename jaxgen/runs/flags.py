"""The command line of an experiment: its system's keyword arguments and the flags common to all."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import docstring_parser
import tyro

from jaxgen.data.resizing import Fit
from jaxgen.types import Learner

DATA_HELP = (
    "data set: auto (MNIST if it can be had, else drawn glyphs), mnist, fashion_mnist, kmnist, "
    "binarized_mnist, glyphs, tfds:NAME (any tensorflow-datasets image set), idx:DIR or folder:DIR"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run depends on.

    Attributes:
      system: name of the system.
      workdir: where the run's files go.
      dataset: what `data.load` is asked for.
      data_dir: where prepared data sets live; None for the default.
      num_epochs: epochs to train in all.
      num_examples: train on the first so many images; None for all.
      seed: where every random choice of the run comes from.
      overwrite: whether to delete what workdir holds.
      hyperparameters: the system's keyword arguments; image_shape and num_steps are None until
        the data are known.
      fit: how images become squares, for systems that have a resolution.
    """

    system: str
    workdir: Path
    dataset: str
    data_dir: Path | None
    num_epochs: int
    num_examples: int | None
    seed: int
    overwrite: bool
    hyperparameters: dict[str, Any]
    fit: Fit = "crop"


def parse(
    system: Callable[..., Learner],
    *,
    num_epochs: int,
    dataset: str = "auto",
    args: list[str] | None = None,
) -> Config:
    """Reads the command line of a system's experiment.

    Args:
      system: a function of `systems`; each of its keyword arguments becomes a flag with the
        argument's type and default, explained by the function's docstring.
      num_epochs: default of --num-epochs.
      dataset: default of --dataset.
      args: the words of the command line; None for those the process was started with.

    Raises:
      SystemExit: after --help, and where a flag is unknown or ill-typed.
    """
    name = system.__name__
    docs = docstring_parser.parse(system.__doc__ or "")
    explained = {p.arg_name: " ".join((p.description or "").split()) for p in docs.params}

    common = [
        _flag("workdir", Path, Path("runs") / name, "where the run's files go"),
        _flag("dataset", str, dataset, DATA_HELP),
        _flag(
            "data_dir",
            Path | None,
            None,
            "where prepared data sets live (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        ),
        _flag("num_epochs", int, num_epochs, "passes over the training images, in all"),
        _flag("num_examples", int | None, None, "train on the first so many images only"),
        _flag("seed", int, 0, "where every random choice of the run comes from"),
        _flag("overwrite", bool, False, "delete what workdir holds and start anew"),
    ]
    if "resolution" in explained:
        fit_help = "how an image becomes square: crop the middle out, or squash it"
        common.append(_flag("fit", Fit, "crop", fit_help))
    own = [
        _flag(p.name, *_type_and_default(p), explained[p.name])
        for p in inspect.signature(system).parameters.values()
    ]
    flags = dataclasses.make_dataclass("Flags", common + own, frozen=True)
    parsed = tyro.cli(
        flags,
        prog=f"{name}.py",
        description=docs.short_description,
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    values = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(flags)}
    hyperparameters = {field[0]: values.pop(field[0]) for field in own}
    return Config(system=name, hyperparameters=hyperparameters, **values)


def _flag(name: str, kind: Any, default: Any, explanation: str) -> tuple[str, Any, Any]:
    annotated = Annotated[kind, tyro.conf.arg(help=explanation)]
    return name, annotated, dataclasses.field(default=default)


def _type_and_default(parameter: inspect.Parameter) -> tuple[Any, Any]:
    # The data set knows image_shape, a flag only asserts it; num_steps follows from num_epochs.
    if parameter.name in ("image_shape", "num_steps"):
        return parameter.annotation | None, None
    # A function, such as a schedule, is for Python alone: no word of a command line is one.
    kinds = [k for k in get_args(parameter.annotation) if get_origin(k) is Callable]
    if kinds:
        typed = [k for k in get_args(parameter.annotation) if k not in kinds]
        return Union[tuple(typed)], parameter.default  # noqa: UP007
    return parameter.annotation, parameter.default
