"""Folders of IDX files, the format in which the MNIST family was published.

http://yann.lecun.com/exdb/mnist: two zero bytes, the element type, the number of dimensions, each
dimension as a big-endian 32-bit integer, then the elements.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import Split

_PREFIXES = {"train": "train", "test": "t10k"}
_NAMES = [
    f"{p}-{kind}-ubyte" for p in _PREFIXES.values() for kind in ("images-idx3", "labels-idx1")
]


def find(directory: Path) -> dict[str, tuple[Path, Path]]:
    """Split name -> (images file, labels file) in `directory`, compressed or not.

    The files may also lie in `raw`, or in `NAME/raw` as torchvision lays them out.

    Raises:
      UserError: the directory does not exist or lacks some of the four files.
    """
    if not directory.is_dir():
        raise UserError(f"no directory {directory}: expected a folder of the four IDX files")
    folders = [directory, directory / "raw", *sorted(directory.glob("*/raw"))]
    lacking = {folder: [n for n in _NAMES if n not in _files(folder)] for folder in folders}
    whole = [folder for folder in folders if not lacking[folder]]
    if not whole:
        nearest = min(folders, key=lambda folder: len(lacking[folder]))
        raise UserError(
            f"{nearest if nearest.is_dir() else directory} lacks {', '.join(lacking[nearest])} "
            "(each may end in .gz): expected the four IDX files of an MNIST-like set"
        )
    if len(whole) > 1 and whole[0] != directory:
        raise UserError(
            f"{directory} holds several sets: name one, such as "
            + " or ".join(f"idx:{folder}" for folder in whole)
        )
    files = _files(whole[0])
    return {
        split: (files[f"{prefix}-images-idx3-ubyte"], files[f"{prefix}-labels-idx1-ubyte"])
        for split, prefix in _PREFIXES.items()
    }


def source(files: dict[str, tuple[Path, Path]]) -> tuple[Any, ...]:
    """What identifies the content of the files without reading them."""
    pairs = [file for split in sorted(files) for file in files[split]]
    stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in pairs]
    return ("idx", [str(file.resolve()) for file in pairs], stats)


def read(files: dict[str, tuple[Path, Path]]) -> dict[str, Split]:
    """Reads the images and labels of every split.

    Raises:
      UserError: a file is damaged or no IDX file of the right kind, or lengths do not agree.
    """
    splits = {}
    for split, (images_file, labels_file) in files.items():
        images = read_array(images_file, 3)[..., None]
        labels = read_array(labels_file, 1).astype(np.int32)
        if len(images) != len(labels):
            raise UserError(
                f"{images_file} has {len(images)} images but {labels_file} has {len(labels)} "
                "labels: these files do not belong together"
            )
        splits[split] = Split(images, labels)
    sizes = {split.images.shape[1:] for split in splits.values()}
    if len(sizes) > 1:
        names = " and ".join(str(images) for images, _ in files.values())
        raise UserError(f"images differ in size between {names}: these are of different sets")
    return splits


def read_array(file: Path, dimensions: int) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, compressed or not, whatever its name says.

    Raises:
      UserError: the file is damaged, of another type, or its header disagrees with its length.
    """
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UserError(f"cannot read {file}: {reason}; fetch it again") from error
    magic = 0x800 + dimensions
    start = 4 + 4 * dimensions
    if len(content) < start or struct.unpack_from(">I", content)[0] != magic:
        raise UserError(
            f"{file} is no IDX file of {dimensions}-dimensional bytes: expected it to begin with "
            f"{magic.to_bytes(4, 'big').hex()}, it begins with {content[:4].hex() or 'nothing'}"
        )
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    if len(content) - start != math.prod(shape) or 0 in shape:
        raise UserError(
            f"{file} is damaged: its header promises {' x '.join(map(str, shape))} bytes, "
            f"{len(content) - start} follow; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _files(folder: Path) -> dict[str, Path]:
    """Published name -> file, of those of the four that are in `folder`."""
    found = {}
    for name in _NAMES:
        # torchvision keeps both forms, and the uncompressed one is read faster. Some copies of the
        # files have "images.idx3-ubyte" for "images-idx3-ubyte".
        for form in (name, name.replace("-idx", ".idx")):
            for file in (folder / form, folder / f"{form}.gz"):
                if name not in found and file.is_file():
                    found[name] = file
    return found
