"""Folders of pictures that are decoded while they are used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import printable, reason
from jaxgen.data.lazy import LazyImages
from jaxgen.data.parallel import map_pictures
from jaxgen.data.readers._listing import Part
from jaxgen.data.readers.folder import (
    arrange,
    classes_of,
    differ_in_size,
    labels_of,
)
from jaxgen.data.readers.pictures import decode_picture, picture_shape
from jaxgen.data.resizing import Square
from jaxgen.data.storage.fingerprints import fingerprint_of_files
from jaxgen.errors import UserError
from jaxgen.types import Split


class PictureFiles:
    """Picture files as images of one size, each decoded when it is asked for.

    Args:
      files: their paths.
      target: what they become; None where they are all of one size.
    """

    def __init__(self, files: Sequence[Path], target: Square | None):
        self._files = files
        self._target = target

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        """The picture as uint8 [R, R, 3].

        Raises:
          UserError: it cannot be decoded. Unlike in memory, where it would be left out, because the
            order of the others depends on their number.
        """
        return _read(self._files[index], lambda file: decode_picture(file, self._target).pixels)


def read(
    directory: Path, parts: Mapping[str, Part], target: Square | None, seed: int, fast: bool
) -> tuple[dict[str, Split], str]:
    """The splits of `folder.read`, their images lazy, and the fingerprint of the files.

    Args:
      directory: the folder.
      parts: what `find_pictures` has found in it.
      target: what images become, or None.
      seed: of the order and of what is held out.
      fast: take the fingerprint of names, sizes and times.

    Raises:
      UserError: a file cannot be read, or pictures differ in size and there is no `target`.
    """
    arranged = arrange(parts, seed)
    files = [
        (f"{split}/{name}", part.folder / name)
        for split, part in arranged.items()
        for name in part.names
    ]
    digest = fingerprint_of_files(files, (target, seed), fast=fast)
    shape = _common_shape(directory, [file for _, file in files], target)
    classes = classes_of(parts)
    splits = {split: _split(part, target, shape, classes) for split, part in arranged.items()}
    if "test" not in splits:
        splits["test"] = splits["validation"]
    return splits, digest


def decoded_bytes(parts: Mapping[str, Part], target: Square | None) -> int:
    """What the decoded pictures would take, where the others are as large as the first."""
    number = sum(len(part.names) for part in parts.values())
    if target is not None:
        return number * 3 * target.resolution**2
    for file in _Paths(parts["train"]):
        try:
            return number * int(np.prod(picture_shape(file)))
        except Exception:  # `read` says what is wrong
            continue
    return 0


class _Paths(Sequence[Path]):
    """Paths made when they are asked for: a million of them would take half a gigabyte."""

    def __init__(self, part: Part):
        self._part = part

    def __len__(self) -> int:
        return len(self._part.names)

    def __getitem__(self, index: Any) -> Any:
        return self._part.folder / self._part.names[index]


def _split(part: Part, target: Square | None, shape: tuple[int, ...], classes: list[str]) -> Split:
    pictures = PictureFiles(_Paths(part), target)
    images: Any = LazyImages(pictures.__getitem__, (len(pictures), *shape))
    return Split(images, labels_of(part.names, classes))


def _common_shape(directory: Path, files: Sequence[Path], target: Square | None) -> tuple[int, ...]:
    if target is not None:
        return target.resolution, target.resolution, 3
    shapes = map_pictures(lambda file: _read(file, picture_shape), files, "reading sizes")
    for file, shape in zip(files, shapes, strict=True):
        if shape != shapes[0]:
            raise differ_in_size(directory, file, shape, shapes[0])
    return shapes[0]


def _read(file: Path, read: Any) -> Any:
    try:
        return read(file)
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(
            f"cannot read {printable(file)}: {reason(error)}; replace or delete it"
        ) from error
