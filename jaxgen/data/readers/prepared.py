"""Data sets that tensorflow-datasets has prepared on disk, read without TensorFlow."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.readers.decoding import decode_images
from jaxgen.data.readers.records import parse_example, read_records
from jaxgen.data.resizing import Square
from jaxgen.errors import UserError
from jaxgen.types import Split

# The sets whose builders key each example by its place in the original files.
_KEYED_BY_INDEX = frozenset({"mnist", "fashion_mnist", "kmnist", "binarized_mnist"})


def default_dir() -> Path:
    """Where tensorflow-datasets keeps prepared sets: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    chosen = os.environ.get("TFDS_DATA_DIR")
    return Path(chosen).expanduser() if chosen else Path.home() / "tensorflow_datasets"


def find(name: str, data_dir: Path) -> Path | None:
    """The newest prepared version of set `name` ("mnist", "emnist/letters"), None if there is none.

    Raises:
      UserError: `name` has several configurations and names none of them.
    """
    folder = data_dir / name
    versions = _versions(folder)
    if not versions and folder.is_dir():
        configs = {sub.name: _versions(sub) for sub in sorted(folder.iterdir()) if sub.is_dir()}
        configs = {config: found for config, found in configs.items() if found}
        if len(configs) > 1:
            raise UserError(
                f"{folder} holds several configurations: name one of "
                + ", ".join(f"tfds:{name}/{config}" for config in configs)
            )
        versions = next(iter(configs.values()), [])
    return versions[-1] if versions else None


def source(path: Path) -> tuple[Any, ...]:
    """What identifies the content of a prepared directory without reading all of it."""
    files = sorted(file for file in path.iterdir() if file.is_file())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    texts = [file.read_text() for file in files if file.suffix == ".json"]
    return ("prepared", str(path.resolve()), stats, texts)


def read(path: Path, target: Square | None = None) -> dict[str, Split]:
    """Reads all splits of the prepared directory `path`, its images as they are or as squares.

    tensorflow-datasets writes examples in the order of a hash of their keys. Where the keys are
    known to be the places in the original files (the MNIST family), that order is restored, so
    that a set is the same whether it comes from here or from the original files.

    Raises:
      UserError: the set holds no images, images of several sizes or types, or is damaged.
    """
    import tensorflow_datasets as tfds

    try:
        info: Any = tfds.builder_from_directory(path).info
    except Exception as error:
        raise _damaged(path, error) from error
    image_key, label_key = _keys(path, info)
    channels = info.features[image_key].shape[-1]
    splits = {}
    for name, split in info.splits.items():
        try:
            images, labels = [], []
            for file in split.filepaths:
                for record in read_records(Path(file), info.file_format.value):
                    example = parse_example(record)
                    images.append(example[image_key])
                    labels.append(example[label_key] if label_key else 0)
            if len(images) != split.num_examples:
                raise ValueError(f"{len(images)} examples instead of {split.num_examples}")
            pixels = decode_images(images, channels, target)
        except Exception as error:
            raise _damaged(f"split {name!r} of {path}", error) from error
        numbers = np.asarray(labels, np.int32) if label_key else None
        if info.name == "binarized_mnist":  # kept there as 0 and 1
            pixels *= np.uint8(255)
        if info.name in _KEYED_BY_INDEX and not info.disable_shuffling:
            place = _places(name, len(pixels))
            pixels[place] = pixels.copy()
            if numbers is not None:
                numbers[place] = numbers.copy()
        splits[name] = Split(pixels, numbers)
    return splits


def _damaged(what: Any, error: Exception) -> UserError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return UserError(f"cannot read {what}: {reason}; prepare the set anew or choose another")


def _versions(folder: Path) -> list[Path]:
    """The prepared versions of one set or configuration, oldest first."""
    found = []
    for info in folder.glob("*/dataset_info.json"):
        numbers = info.parent.name.split(".")
        if all(number.isdecimal() for number in numbers):
            found.append(([int(number) for number in numbers], info.parent))
    return [path for _, path in sorted(found)]


def _keys(path: Path, info: Any) -> tuple[str, str | None]:
    """The names of the image feature, and of the class label if the set has one."""
    from tensorflow_datasets import features

    kinds = dict(info.features.items()) if isinstance(info.features, features.FeaturesDict) else {}
    images = [key for key, kind in kinds.items() if type(kind) is features.Image]
    labels = [key for key, kind in kinds.items() if isinstance(kind, features.ClassLabel)]
    supervised = info.supervised_keys or ()
    images = [key for key in images if key in supervised] or images
    labels = [key for key in labels if key in supervised] or labels
    if len(images) != 1 or kinds[images[0]].np_dtype != np.uint8:
        raise UserError(
            f"{path} is no set of 8-bit images: expected one image feature, it has "
            f"{', '.join(kinds) or 'none'}; choose an image set"
        )
    return images[0], labels[0] if len(labels) == 1 else None


def _places(split: str, num_examples: int) -> np.ndarray:
    """Place in the original files of each example, in the order tensorflow-datasets writes them."""
    salted = hashlib.md5(split.encode())

    def key(index: int) -> bytes:
        digest = salted.copy()
        digest.update(str(index).encode())
        return digest.digest()

    return np.asarray(sorted(range(num_examples), key=key), np.int64)
