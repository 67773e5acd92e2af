"""Folders of photographs: one sub-folder a class, or all in one."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from jaxgen.data.parallel import map_pictures
from jaxgen.data.resizing import Square, draft, resized
from jaxgen.errors import UserError
from jaxgen.types import Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEST_SHARE = 0.1
UNREADABLE_SHARE = 0.01  # more than this is an error
_FORMATS = ("JPEG", "PNG", "WEBP")
_NAMED = 10  # how many pictures a message names


def find(directory: Path) -> list[str]:
    """The pictures of a folder, as paths relative to it with "/", in the order of their names.

    Names that begin with a dot are no pictures: some systems put thumbnails there.

    Raises:
      UserError: there is no such folder, it holds no pictures, or it holds some in sub-folders and
        others beside them.
    """
    if not directory.is_dir():
        what = "is no folder" if directory.exists() else "does not exist"
        raise UserError(f"{directory} {what}: expected a folder of pictures ({_kinds()})")
    found, others, seen = [], 0, set()
    for place, folders, files in os.walk(directory, followlinks=True):
        real = os.path.realpath(place)  # links may go in circles
        folders[:] = [f for f in folders if not f.startswith(".") and real not in seen]
        seen.add(real)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                found.append(Path(place, name).relative_to(directory).as_posix())
            else:
                others += 1
    if not found:
        content = f"holds no picture, only {others} other files" if others else "is empty"
        raise UserError(f"{directory} {content}: expected a folder of pictures ({_kinds()})")
    if len(found) == 1:
        raise UserError(f"{directory} holds one picture: expected at least two, to train and test")
    if len({"/" in name for name in found}) > 1:
        flat = next(name for name in found if "/" not in name)
        raise UserError(
            f"{directory} holds pictures both in sub-folders and beside them ({flat}): expected "
            "one sub-folder a class, or no sub-folders"
        )
    return sorted(found)


def source(directory: Path, names: list[str], target: Square | None, seed: int) -> tuple[Any, ...]:
    """What identifies the content of `read` without reading it."""
    stats = [(directory / name).stat() for name in names]
    listing = [(name, s.st_size, s.st_mtime_ns) for name, s in zip(names, stats, strict=True)]
    return ("folder", str(directory.resolve()), listing, target, seed)


def read(directory: Path, names: list[str], target: Square | None, seed: int) -> dict[str, Split]:
    """Decodes the pictures `find` has found to RGB, and splits them.

    Which picture is held out depends on its name and the seed alone: others may come and go. Both
    splits are in an order of their own, with the classes mixed. Labels count the sub-folders in
    the order of their names; there are none where there are no sub-folders.

    Warns:
      UserWarning: once, naming the pictures that cannot be read and are left out.

    Raises:
      UserError: more than 1% of the pictures cannot be read, or they differ in size and there is
        no `target`.
    """
    digests = {name: hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names}
    order = sorted(names, key=lambda name: digests[name])
    # In this order the held-out pictures come first: those whose digest, as a fraction of the
    # largest, is below the share. Either split has one picture at least.
    border = int(TEST_SHARE * 2**64).to_bytes(8, "big")
    num_test = sum(digest < border for digest in digests.values())
    num_test = min(max(num_test, 1), len(names) - 1)

    shape = _first_shape(directory, order, target)
    images = np.empty((len(order), *shape), np.uint8)
    unreadable: dict[int, str] = {}

    def decode(i: int) -> None:
        try:
            pixels = decode_picture(directory / order[i], target)
        except MemoryError:
            raise
        except Exception as error:
            unreadable[i] = str(error).split("\n")[0] or type(error).__name__
            return
        if pixels.shape != shape:
            raise UserError(
                f"the pictures of {directory} differ in size ({order[i]} has {_size(pixels.shape)},"
                f" others {_size(shape)}): ask for a resolution"
            )
        images[i] = pixels

    map_pictures(decode, range(len(order)), f"decoding {directory.name}")
    _report(directory, {order[i]: unreadable[i] for i in sorted(unreadable)}, len(order))
    classes = sorted({name.split("/")[0] for name in names if "/" in name})
    numbers = {name: number for number, name in enumerate(classes)}
    splits = {}
    for split, part in {"train": range(num_test, len(order)), "test": range(num_test)}.items():
        kept = [i for i in part if i not in unreadable]
        labels = [numbers[order[i].split("/")[0]] for i in kept] if classes else None
        pixels = images[part.start : part.stop] if len(kept) == len(part) else images[kept]
        splits[split] = Split(pixels, None if labels is None else np.asarray(labels, np.int32))
    return splits


def decode_picture(file: Path, target: Square | None) -> np.ndarray:
    """One picture as uint8 [H, W, 3], upright, what is transparent on white.

    Raises:
      Exception: of many kinds, where Pillow cannot read the file.
    """
    with Image.open(file, formats=_FORMATS) as image:
        draft(image, target)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits, of which Pillow would take the lower 8
            upright = Image.fromarray((np.asarray(upright) / 257).round().astype(np.uint8))
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            paper = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(paper, upright)
        return np.asarray(resized(upright.convert("RGB"), target))


def _first_shape(directory: Path, names: list[str], target: Square | None) -> tuple[int, ...]:
    """What `target` asks for, or the shape of the first picture that can be read."""
    if target is not None:
        return target.resolution, target.resolution, 3
    for name in names:
        try:
            return decode_picture(directory / name, target).shape
        except Exception:
            continue
    raise UserError(f"none of the {len(names)} pictures of {directory} can be read")


def _report(directory: Path, unreadable: dict[str, str], number: int) -> None:
    if not unreadable:
        return
    shown = [f"{name} ({reason})" for name, reason in list(unreadable.items())[:_NAMED]]
    more = f" and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    which = f"{len(unreadable)} of the {number} pictures of {directory}"
    listed = ", ".join(shown) + more
    if len(unreadable) > UNREADABLE_SHARE * number:
        raise UserError(
            f"{which} cannot be read, more than {UNREADABLE_SHARE:.0%}: {listed}; mend or delete "
            "them"
        )
    warnings.warn(f"{which} cannot be read and are left out: {listed}", stacklevel=2)


def _kinds() -> str:
    return f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
