"""The flags that every command of a run has: name, annotated type and default of each."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxgen.data.resizing import Fit

Flag = tuple[str, Any, Any]

DATA_HELP = (
    "data set: auto (MNIST if it can be had, else drawn glyphs), mnist, fashion_mnist, kmnist, "
    "binarized_mnist, glyphs, tfds:NAME (any tensorflow-datasets image set), idx:DIR, folder:DIR, "
    "npy:DIR or npz:FILE"
)


def common_flags(workdir: Path, dataset: str, num_epochs: int) -> list[Flag]:
    """All of them, with these defaults."""
    return [
        *_of_files(workdir),
        *_of_data(dataset),
        *_of_training(num_epochs),
        *_of_devices(),
    ]


def _of_files(workdir: Path) -> list[Flag]:
    """What is written, and kept."""
    return [
        flag("workdir", Path, workdir, "where the run's files go"),
        flag(
            "checkpoint_every",
            int | None,
            None,
            "save whenever the number of steps is a multiple of this (default: after each epoch)",
        ),
        flag("keep", int, 2, "how many of the newest checkpoints are kept"),
        flag(
            "keep_best",
            str | None,
            None,
            "metric of the validation split, such as loss: the best checkpoint is kept besides",
        ),
        flag("overwrite", bool, False, "delete what workdir holds and start from nothing"),
        flag(
            "compilation_cache",
            bool,
            True,
            "neither read nor keep compiled programs in the user's cache",
        ),
    ]


def _of_data(dataset: str) -> list[Flag]:
    """Where the data come from, and how they are read."""
    return [
        flag("dataset", str, dataset, DATA_HELP),
        flag(
            "data_dir",
            Path | None,
            None,
            "where prepared data sets live (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        ),
        flag(
            "resolution",
            int | None,
            None,
            "height and width that images are resized to (default: as they are, and the size that "
            "the system was published at where they differ in size)",
        ),
        flag("fit", Fit, "crop", "how an image becomes square: crop the middle out, or squash it"),
        flag(
            "stream",
            bool,
            False,
            "read training images from disk while they are used (default: where they would take "
            "more than half of the available memory)",
        ),
        flag(
            "fast_fingerprint",
            bool,
            False,
            "know the files of a streamed set by their names, sizes and times, without reading "
            "them at the start",
        ),
        flag("num_examples", int | None, None, "train on the first so many images only"),
        flag(
            "validation_fraction",
            float,
            0.0,
            "share of the training images that is held out as a validation split",
        ),
    ]


def _of_training(num_epochs: int) -> list[Flag]:
    """What is trained, and what is shown of it."""
    return [
        flag("num_epochs", int, num_epochs, "passes over the training images, in all"),
        flag("seed", int, 0, "where every random choice of the run comes from"),
        flag(
            "init_from",
            Path | None,
            None,
            "workdir or file of weights to start from, with a fresh optimizer",
        ),
        flag(
            "on_nonfinite",
            Literal["stop", "skip"],
            "stop",
            "stop the run at a loss or gradient that is not finite, or leave such updates out",
        ),
        flag(
            "evaluate",
            bool,
            False,
            "measure likelihood and sample quality at the end, as jaxgen evaluate",
        ),
        flag("pictures", bool, True, "draw no pictures"),
    ]


def _of_devices() -> list[Flag]:
    """Where it is trained."""
    return [
        flag(
            "devices",
            int | Literal["all"],
            1,
            "how many devices share every batch, or all; on a CPU so many are made",
        ),
        flag(
            "coordinator",
            str | None,
            None,
            "HOST:PORT of the first of several processes, or auto to find it in the environment "
            "of a cluster (default: a single process)",
        ),
        flag("num_processes", int | None, None, "how many processes share every batch"),
        flag("process_id", int | None, None, "which of the processes this is, from 0"),
    ]


def flag(name: str, kind: Any, default: Any, explanation: str) -> Flag:
    """A field of a dataclass that tyro reads from the command line."""
    annotated = Annotated[kind, tyro.conf.arg(help=explanation)]
    return name, annotated, dataclasses.field(default=default)
