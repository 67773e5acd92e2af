"""From the command line to a run: what was asked for, whether it can be had, what it depends on."""

import dataclasses
import importlib.metadata
import platform
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax

from jaxgen import _checks, data
from jaxgen.convolutions import onednn
from jaxgen.data.storage.cache import directory, private_folder
from jaxgen.errors import UserError
from jaxgen.runs import flags
from jaxgen.runs.loop import Run
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Dataset, Learner


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
    _checks.at_least("--num-epochs", config.num_epochs, 1)
    _checks.at_least("--seed", config.seed, 0)
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

    record = _record(config, loaded)
    run = Run(config, loaded, learner, Workdir(config.workdir, record, config.overwrite), record)
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
    if onednn.wanted():  # what calls oneDNN cannot be kept, and JAX says so of each program
        warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
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
