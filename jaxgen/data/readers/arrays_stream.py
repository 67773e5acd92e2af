"""Arrays on disk: .npy files, and members of .npz archives, mapped into memory."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import list_directory, one_line_errors, printable, reason
from jaxgen.data.arrays import check_split, make_splits
from jaxgen.data.holding_out import divided, number_held_out
from jaxgen.data.lazy import LazyImages
from jaxgen.data.resizing import Square, resized_array
from jaxgen.data.storage.fingerprints import fingerprint_of_files
from jaxgen.errors import UserError
from jaxgen.types import Split

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_EXPECTED = f"a folder with {KEYS[0]}.npy, or one .npy file of images"


def find_arrays(place: Path) -> dict[str, Path]:
    """The .npy files of a folder by the name of the array; of a file, that of training images.

    Raises:
      UserError: there is no such folder or file, or no training images in it.
    """
    if place.is_file():
        return {KEYS[0]: place}
    names = {file.name for file in list_directory(place, _EXPECTED)}
    files = {key: place / f"{key}.npy" for key in KEYS if f"{key}.npy" in names}
    if KEYS[0] not in files:
        raise UserError(f"{printable(place)} holds no {KEYS[0]}.npy: expected {_EXPECTED}")
    return files


def source(files: dict[str, Path]) -> tuple[Any, ...]:
    """What identifies the content of the files without reading them."""
    listing = []
    for key, file in files.items():
        with one_line_errors("read", file, f"expected {_EXPECTED}"):
            stat = file.stat()
        listing.append((key, str(file.resolve()), stat.st_size, stat.st_mtime_ns))
    return ("npy", listing)


def read(files: dict[str, Path]) -> dict[str, Split]:
    """Reads .npy files into memory.

    Raises:
      UserError: a file is damaged, or holds an array that `from_arrays` refuses.
    """
    return make_splits(**{key: np.array(_mapped(file)) for key, file in files.items()})


def read_lazily(
    files: dict[str, Path], target: Square | None, fast: bool
) -> tuple[dict[str, Split], str]:
    """The splits of `read`, their images lazy, and the fingerprint of the files.

    Raises:
      UserError: as `read`; or images are floats of another precision than 32 bits.
    """
    digest = fingerprint_of_files(list(files.items()), ("arrays", target), fast=fast)
    return _lazy_splits({key: _mapped(file) for key, file in files.items()}, target), digest


def read_archive_lazily(
    file: Path, target: Square | None, fast: bool
) -> tuple[dict[str, Split], str]:
    """The splits of `npz.read`, their images lazy, and the fingerprint of the file.

    Raises:
      UserError: as `npz.read`; or an array is compressed.
    """
    digest = fingerprint_of_files([("npz", file)], ("arrays", target), fast=fast)
    arrays = {}
    try:
        with one_line_errors("read", file, "expected an .npz file"), zipfile.ZipFile(file) as npz:
            for info in npz.infolist():
                key = info.filename.removesuffix(".npy")
                if key in KEYS:
                    arrays[key] = _mapped_member(file, info)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"cannot read {printable(file)}: {reason(error)}; write it again with np.savez"
        ) from error
    if KEYS[0] not in arrays:
        raise UserError(f"{printable(file)} holds no {KEYS[0]}: save it with np.savez")
    return _lazy_splits(arrays, target), digest


def is_compressed(file: Path) -> bool:
    """Whether an archive is compressed, so that its arrays cannot be mapped into memory."""
    try:
        with zipfile.ZipFile(file) as npz:
            return any(info.compress_type != zipfile.ZIP_STORED for info in npz.infolist())
    except Exception:  # of many kinds; reading it says what is wrong
        return False


def _mapped(file: Path) -> np.ndarray:
    try:
        with one_line_errors("read", file, f"expected {_EXPECTED}"):
            return np.load(file, mmap_mode="r", allow_pickle=False)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise UserError(
            f"cannot read {printable(file)}: {reason(error)}; write it again with np.save"
        ) from error


def _mapped_member(file: Path, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type != zipfile.ZIP_STORED:
        raise UserError(
            f"{printable(file)} is compressed and cannot be streamed: write it again with np.savez"
        )
    with file.open("rb") as opened:
        opened.seek(info.header_offset)
        lengths = struct.unpack("<4s22xHH", opened.read(30))
        opened.seek(lengths[1] + lengths[2], 1)
        version = np.lib.format.read_magic(opened)
        if version != (1, 0):
            raise ValueError(f"an array of format version {version[0]}.{version[1]} is not read")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(opened)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds objects, which are not read")
        order = "F" if fortran_order else "C"
        return np.memmap(file, dtype, "r", opened.tell(), shape, order)


def _lazy_splits(arrays: dict[str, np.ndarray], target: Square | None) -> dict[str, Split]:
    train = _lazy(arrays, "train", target)
    if KEYS[2] in arrays:
        splits = {"train": train, "test": _lazy(arrays, "test", target)}
        if (splits["test"].labels is None) != (train.labels is None):
            raise UserError("expected labels of both splits or none: give both or none")
        return splits
    kept, held_out = divided(train, number_held_out(len(train.images)))
    return {"train": kept, "test": held_out}


def _lazy(arrays: dict[str, np.ndarray], split: str, target: Square | None) -> Split:
    pixels, labels = check_split(arrays[f"{split}_images"], arrays.get(f"{split}_labels"), split)

    def image(index: int) -> np.ndarray:
        return resized_array(np.asarray(pixels[index]), target)

    side = None if target is None else target.resolution
    shape = (len(pixels), side or pixels.shape[1], side or pixels.shape[2], pixels.shape[3])
    images: Any = LazyImages(image, shape, pixels.dtype)
    return Split(images, labels)
