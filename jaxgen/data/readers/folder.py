"""Folders of pictures: one sub-folder for each class, or all in one; in splits or not."""

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import one_line_errors, printable, reason
from jaxgen.data.notices import say
from jaxgen.data.parallel import map_pictures
from jaxgen.data.readers._listing import Part
from jaxgen.data.readers.pictures import decode_picture
from jaxgen.data.resizing import SizesDifferError, Square
from jaxgen.errors import UserError
from jaxgen.types import Split

TEST_SHARE = 0.1
UNREADABLE_SHARE = 0.01  # more than this is an error
_NAMED = 10  # how many pictures a message names


def source(
    directory: Path, parts: Mapping[str, Part], target: Square | None, seed: int
) -> tuple[Any, ...]:
    """What identifies the content of `read` without reading it."""
    listing = []
    with one_line_errors("read", directory, "its pictures changed while they were listed; retry"):
        for split, (folder, names) in parts.items():
            for name in names:
                stat = (folder / name).stat()
                listing.append((split, name, stat.st_size, stat.st_mtime_ns))
    return ("folder", str(directory.resolve()), listing, target, seed)


def read(
    directory: Path, parts: Mapping[str, Part], target: Square | None, seed: int
) -> dict[str, Split]:
    """Decodes the pictures that `find_pictures` has found to RGB.

    The pictures of a split are in the order of a hash of the seed and their names, with the
    classes mixed. Where there is neither a test nor a validation split, those with the smallest
    hashes are held out: which ones depends on their names and the seed alone, whatever pictures
    come and go beside them. Labels count the sub-folders of the training split in the order of
    their names; there are none where it has no sub-folders, or the other split has other ones.
    One line on stderr names the pictures that cannot be read and are left out.

    Raises:
      UserError: more than 1% of the pictures cannot be read, or they differ in size and there is
        no `target`.
    """
    arranged = arrange(parts, seed)
    ordered = {split: part.names for split, part in arranged.items()}
    files = [part.folder / name for part in arranged.values() for name in part.names]
    images, kept = _decode_all(directory, files, target)

    classes = classes_of(parts)
    splits, start = {}, 0
    for split, names in ordered.items():
        of_split = kept[start : start + len(names)]
        pixels = images[start : start + len(names)]
        start += len(names)
        left = [name for name, keep in zip(names, of_split, strict=True) if keep]
        if not left:
            raise UserError(f"none of the {split} pictures of {printable(directory)} can be read")
        labels = labels_of(left, classes)
        splits[split] = Split(pixels if of_split.all() else pixels[of_split], labels)
    if classes and (labels := splits["train"].labels) is not None:
        lost = [name for number, name in enumerate(classes) if number not in set(labels.tolist())]
        if lost:
            say(f"{printable(directory)}: no training picture of {', '.join(map(printable, lost))}")
    if "test" not in splits:
        splits["test"] = splits["validation"]
    return splits


def arrange(parts: Mapping[str, Part], seed: int) -> dict[str, Part]:
    """The pictures of each split in the order of `read`, "test" held out where that is needed."""
    ordered = {split: Part(p.folder, _in_order(p.names, seed)) for split, p in parts.items()}
    if parts.keys() == {"train"}:
        folder, names = ordered["train"]
        num_test = _num_test(names, seed)
        ordered = {"train": Part(folder, names[num_test:]), "test": Part(folder, names[:num_test])}
    return ordered


def _digest(seed: int, name: str) -> bytes:
    # Names that are not UTF-8 keep their bytes.
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()


def _in_order(names: list[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: _digest(seed, name))


def _num_test(ordered: list[str], seed: int) -> int:
    """How many names have a hash below the share that is held out; at least one, and not all."""
    border = int(TEST_SHARE * 2**64).to_bytes(8, "big")
    number = sum(_digest(seed, name) < border for name in ordered)
    return min(max(number, 1), len(ordered) - 1)


def classes_of(parts: Mapping[str, Part]) -> list[str]:
    """The sub-folders of the training split, in the order of their labels."""
    return sorted({name.split("/")[0] for name in parts["train"].names if "/" in name})


def labels_of(names: list[str], classes: list[str]) -> np.ndarray | None:
    """int32 [N]; None where a picture is in none of the classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    found = [numbers.get(name.split("/")[0]) if "/" in name else None for name in names]
    return None if None in found else np.asarray(found, np.int32)


def _decode_all(
    directory: Path, files: list[Path], target: Square | None
) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, 3], and which of them could be read, bool [N]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on metadata that are not used
        shape = _first_shape(directory, files, target)
        try:
            images = np.zeros((len(files), *shape), np.uint8)
        except MemoryError as error:
            raise UserError(
                f"the {len(files)} pictures of {printable(directory)} do not fit into memory as "
                f"{_size(shape)} pixels: pass a smaller --resolution (in Python: resolution=)"
            ) from error
        unreadable: dict[int, str] = {}
        with_more_frames: list[int] = []

        def decode(i: int) -> None:
            try:
                pixels, frames_left = decode_picture(files[i], target)
            except MemoryError:
                raise
            except Exception as error:
                unreadable[i] = reason(error)
                return
            if pixels.shape != shape:
                raise differ_in_size(directory, files[i], pixels.shape, shape)
            images[i] = pixels
            if frames_left:
                with_more_frames.append(i)

        map_pictures(decode, range(len(files)), f"decoding {printable(directory.name)}")
    _report(directory, {files[i]: unreadable[i] for i in sorted(unreadable)}, len(files))
    if with_more_frames:
        say(f"{printable(directory)}: of {len(with_more_frames)} animations or documents of "
            "several pages the first frame is read")  # fmt: skip
    kept = np.ones(len(files), bool)
    kept[list(unreadable)] = False
    return images, kept


def _first_shape(directory: Path, files: list[Path], target: Square | None) -> tuple[int, ...]:
    """What `target` asks for, or the shape of the first picture that can be read."""
    if target is not None:
        return target.resolution, target.resolution, 3
    for file in files:
        try:
            return decode_picture(file, target).pixels.shape
        except Exception:
            continue
    raise UserError(f"none of the {len(files)} pictures of {printable(directory)} can be read")


def differ_in_size(
    directory: Path, file: Path, shape: tuple[int, ...], others: tuple[int, ...]
) -> SizesDifferError:
    """The error that names a picture of another shape than the others have."""
    side = min(*shape[:2], *others[:2])
    return SizesDifferError(
        f"the pictures of {printable(directory)} differ in size "
        f"({printable(os.path.relpath(file, directory))} has {_size(shape)}, others "
        f"{_size(others)}): pass --resolution {side} (in Python: resolution={side}), or another"
    )


def _report(directory: Path, unreadable: dict[Path, str], number: int) -> None:
    if not unreadable:
        return
    shown = [
        f"{printable(os.path.relpath(file, directory))} ({why})"
        for file, why in list(unreadable.items())[:_NAMED]
    ]
    more = f" and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    which = f"{len(unreadable)} of the {number} pictures of {printable(directory)}"
    listed = ", ".join(shown) + more
    if len(unreadable) > UNREADABLE_SHARE * number:
        raise UserError(
            f"{which} cannot be read, more than {UNREADABLE_SHARE:.0%}: {listed}; replace or "
            "delete them"
        )
    say(f"{which} cannot be read and are left out: {listed}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
