"""Data sets that tensorflow-datasets has prepared on disk, read without TensorFlow."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import expanded, home, list_directory, one_line_errors, printable
from jaxgen.data.readers.decoding import SizesDiffer, decode_images
from jaxgen.data.readers.prepared_info import Opened, damaged, open_set
from jaxgen.data.readers.records import parse_example, read_records
from jaxgen.data.resizing import SizesDifferError, Square
from jaxgen.data.storage import cache
from jaxgen.errors import UserError
from jaxgen.types import Split


def default_dir() -> Path:
    """Where tensorflow-datasets keeps prepared sets: TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Without a home directory it is a folder in the cache.
    """
    if chosen := os.environ.get("TFDS_DATA_DIR"):
        return expanded(chosen)
    return (home() or cache.directory()) / "tensorflow_datasets"


def find(name: str, data_dir: Path) -> Path | None:
    """The newest prepared version of a set, or the one that is asked for; None if there is none.

    Args:
      name: "mnist", "emnist/letters"; with a version "mnist/3.0.1", "mnist:3.0.1".
      data_dir: the folder that holds the set, or the folder of the set, of its configuration or of
        the version itself.

    Raises:
      UserError: the set has several configurations and none is named, or other versions only.
    """
    name, version = split_version(name)
    inside = Path(os.path.abspath(data_dir))
    for place in (inside, *inside.parents[:3]):
        found = _prepared(name, place, inside)
        named = [path for path in found if version in (None, path.name)]
        if named:
            return named[-1]
        if found:
            others = ", ".join(f"tfds:{name}/{path.name}" for path in found)
            raise UserError(
                f"{printable(found[0].parent)} does not hold version {version} of {name}: use "
                f"{others} or leave the version out"
            )
    return None


def split_version(name: str) -> tuple[str, str | None]:
    """("mnist", "3.0.1") of "mnist/3.0.1" or "mnist:3.0.1"; the version is None without one."""
    words = name.replace(":", "/").split("/")
    if len(words) > 1 and _numbers(words[-1]):
        return "/".join(words[:-1]), words[-1]
    return "/".join(words), None


def source(path: Path) -> tuple[Any, ...]:
    """What identifies the content of a prepared directory without reading all of it."""
    with one_line_errors("read", path, "expected a prepared set that you may read"):
        files = sorted(file for file in path.iterdir() if file.is_file())
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        texts = [file.read_bytes() for file in files if file.suffix == ".json"]
    return ("prepared", str(path.resolve()), stats, texts)


def read(path: Path, target: Square | None = None) -> dict[str, Split]:
    """Reads all splits of the prepared directory `path`, its images as they are or as squares.

    tensorflow-datasets writes examples in the order of a hash of their keys. Where the keys are
    known to be the places in the original files (the MNIST family), that order is restored, so
    that a set is the same whether it comes from here or from the original files. The images of
    EMNIST are stored transposed and are turned upright.

    Raises:
      UserError: the set holds no images, images of several sizes or types, or is damaged.
    """
    opened = open_set(path)
    info, image_key, label_key = opened.info, opened.image_key, opened.label_key
    splits = {}
    for name, split in info.splits.items():
        try:
            images, labels = _read_examples(split, info.file_format.value, image_key, label_key)
            pixels = decode_images(images, opened.channels, target)
        except SizesDiffer as error:
            raise SizesDifferError(f"the images of {printable(path)} {error}") from error
        except Exception as error:
            raise damaged(f"split {name!r} of {printable(path)}", error) from error
        numbers = np.asarray(labels, np.int32) if label_key else None
        splits[name] = _as_published(opened, name, Split(pixels, numbers))
    shapes = sorted({split.images.shape[1:] for split in splits.values()})
    if len(shapes) > 1:
        raise SizesDifferError(f"the images of {printable(path)} {SizesDiffer(shapes)}")
    return splits


def _read_examples(
    split: Any, file_format: str, image_key: str, label_key: str | None
) -> tuple[list[Any], list[Any]]:
    """The encoded images and the labels of a split, as they are stored."""
    images, labels = [], []
    for file in split.filepaths:
        for record in read_records(Path(file), file_format):
            example = parse_example(record)
            images.append(example[image_key])
            labels.append(example[label_key] if label_key else 0)
    if len(images) != split.num_examples:
        raise ValueError(f"{len(images)} examples instead of {split.num_examples}")
    return images, labels


def _as_published(opened: Opened, name: str, split: Split) -> Split:
    """A split with the order, the range and the orientation of the original files."""
    pixels, numbers = split
    if opened.info.name == "binarized_mnist":  # kept there as 0 and 1
        pixels *= np.uint8(255)
    if opened.info.name == "emnist":
        pixels = np.ascontiguousarray(pixels.swapaxes(1, 2))
    if opened.in_order_of_hash:
        place = places(name, len(pixels))
        pixels[place] = pixels.copy()
        if numbers is not None:
            numbers[place] = numbers.copy()
    return Split(pixels, numbers)


def _prepared(name: str, data_dir: Path, inside: Path) -> list[Path]:
    """The prepared versions of a set in `data_dir` that are also `inside`, oldest first."""
    folder = data_dir / name
    versions = _versions(folder, inside)
    if not versions and os.path.isdir(folder):
        subs = [sub for sub in list_directory(folder, "a prepared set") if sub.is_dir()]
        configs = {sub.name: _versions(sub, inside) for sub in subs}
        configs = {config: found for config, found in configs.items() if found}
        if len(configs) > 1:
            raise UserError(
                f"{printable(folder)} holds several configurations: name one of "
                + ", ".join(f"tfds:{name}/{config}" for config in configs)
            )
        versions = next(iter(configs.values()), [])
    return versions


def _versions(folder: Path, inside: Path) -> list[Path]:
    """The prepared versions of one set or configuration, oldest first."""
    infos = [info.parent for info in folder.glob("*/dataset_info.json")]
    found = [path for path in infos if _numbers(path.name) and path.is_relative_to(inside)]
    return sorted(found, key=lambda path: _numbers(path.name))


def _numbers(version: str) -> list[int]:
    """[3, 0, 1] of "3.0.1"; [] of what is no version."""
    words = version.split(".")
    decimal = len(words) > 1 and all(word.isascii() and word.isdecimal() for word in words)
    return [int(word) for word in words] if decimal else []


def places(split: str, num_examples: int) -> np.ndarray:
    """Place in the original files of each example, in the order tensorflow-datasets writes them."""
    salted = hashlib.md5(split.encode())

    def key(index: int) -> bytes:
        digest = salted.copy()
        digest.update(str(index).encode())
        return digest.digest()

    return np.asarray(sorted(range(num_examples), key=key), np.int64)
