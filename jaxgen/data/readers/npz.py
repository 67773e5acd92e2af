"""Archives of NumPy arrays, as `np.savez` writes them."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxgen._files import one_line_errors, printable, reason
from jaxgen.data.arrays import make_splits
from jaxgen.data.notices import say
from jaxgen.errors import UserError
from jaxgen.types import Split

_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def source(file: Path) -> tuple[Any, ...]:
    """What identifies the content of the file without reading it."""
    with one_line_errors("read", file, "expected an .npz file"):
        stat = file.stat()
    return ("npz", str(file.resolve()), stat.st_size, stat.st_mtime_ns)


def read(file: Path) -> dict[str, Split]:
    """Reads train_images and, where they are there, train_labels, test_images, test_labels.

    Nothing is unpickled, and no array is allocated that the file could not hold.

    Raises:
      UserError: the file is damaged, holds no train_images, or arrays that `from_arrays` refuses.
    """
    try:
        with one_line_errors("read", file, "expected an .npz file"), zipfile.ZipFile(file) as npz:
            names = {info.filename.removesuffix(".npy"): info for info in npz.infolist()}
            arrays = {key: _read_array(npz, names[key]) for key in _KEYS if key in names}
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds for damaged files
        raise UserError(
            f"cannot read {printable(file)}: {reason(error)}; write it again with np.savez"
        ) from error
    if "train_images" not in arrays:
        found = ", ".join(map(_shown, sorted(names))) or "no arrays"
        raise UserError(
            f"{printable(file)} holds {found}: expected "
            f"{', '.join(_KEYS)} (all but the first optional); save them under these names with "
            "np.savez"
        )
    if ignored := sorted(names.keys() - set(_KEYS)):
        say(f"{printable(file)}: left out {', '.join(map(_shown, ignored))}")
    try:
        return make_splits(**arrays)
    except UserError as error:
        raise UserError(f"{printable(file)}: {error}") from error


def _shown(name: str) -> str:
    """A name from a file, which may hold anything, in one line."""
    return ascii(name)[1:-1]


def _read_array(npz: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed in a way that np.savez does not use")
    with npz.open(info) as member:
        shape, fortran_order, dtype = _read_header(member)
        if dtype.hasobject:
            raise UserError(
                f"{printable(str(npz.filename))}: expected {info.filename} to be an array of "
                "numbers, got objects, which are not read: where images differ in size, resize "
                "them to one size and save np.stack of them"
            )
        size = math.prod(shape) * dtype.itemsize
        # zipfile allocates what the file holds, however much is asked for. One byte more reaches
        # the end, where the checksum is verified.
        content = member.read(size + 1) if size >= 0 else b""
    if len(content) != size:
        raise ValueError(f"{info.filename} is not as long as its header says")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    # np.savez writes this version for all arrays of numbers.
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"an array of format version {version[0]}.{version[1]} is not read")
    return np.lib.format.read_array_header_1_0(member)
