"""Folders of IDX files, the format in which the MNIST family was published.

http://yann.lecun.com/exdb/mnist: two zero bytes, the element type, the number of dimensions, each
dimension as a big-endian 32-bit integer, then the elements.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxgen._files import printable, reason
from jaxgen.data.readers._idx_files import IdxFiles
from jaxgen.errors import UserError
from jaxgen.types import Split

# The first four bytes of a file: element type and number of dimensions.
_IMAGES = 0x803
_LABELS = 0x801
_NIST_LABELS = 0xC02  # QMNIST: int32 [N, 8], of which the first column is the class
_TYPES = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
# Deflate shrinks data by at most this factor.
_DEFLATE_LIMIT = 1032


def source(files: IdxFiles) -> tuple[Any, ...]:
    """What identifies the content of the files without reading them."""
    pairs = [file for split in sorted(files.splits) for file in files.splits[split]]
    stats = [(file.stat().st_size, file.stat().st_mtime_ns) for file in pairs]
    return ("idx", [str(file.resolve()) for file in pairs], stats, files.transposed)


def read(files: IdxFiles) -> dict[str, Split]:
    """Reads the images and labels of every split, the images upright.

    Raises:
      UserError: a file is damaged or no IDX file of the right kind, or lengths do not agree.
    """
    splits = {}
    for split, (images_file, labels_file) in files.splits.items():
        images = read_array(images_file, _IMAGES)[..., None]
        if files.transposed:
            images = np.ascontiguousarray(images.swapaxes(1, 2))
        labels = read_array(labels_file, _LABELS, _NIST_LABELS)
        labels = (labels if labels.ndim == 1 else labels[:, 0]).astype(np.int32)
        if len(images) != len(labels):
            raise UserError(
                f"{printable(images_file)} has {len(images)} images but {printable(labels_file)} "
                f"has {len(labels)} labels: these files do not belong together"
            )
        splits[split] = Split(images, labels)
    sizes = {split.images.shape[1:] for split in splits.values()}
    if len(sizes) > 1:
        names = " and ".join(printable(images) for images, _ in files.splits.values())
        raise UserError(f"images differ in size between {names}: these are of different sets")
    return splits


def read_array(file: Path, *kinds: int) -> np.ndarray:
    """Reads one IDX file, compressed or not, whatever its name says.

    Args:
      file: its path.
      kinds: the first four bytes that it may have, as numbers.

    Raises:
      UserError: the file is damaged, of another kind, or its header disagrees with its length.
    """
    try:
        with file.open("rb") as raw:
            size = file.stat().st_size
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    return _parse(file, unpacked, _DEFLATE_LIMIT * size, kinds)
            return _parse(file, raw, size, kinds)
    except (OSError, EOFError, zlib.error) as error:
        why = reason(error).rstrip(".")
        raise UserError(f"cannot read {printable(file)}: {why}; fetch it again") from error


def _parse(
    file: Path, stream: IO[bytes] | gzip.GzipFile, limit: int, kinds: tuple[int, ...]
) -> np.ndarray:
    """The array in a stream of at most `limit` bytes; nothing longer is allocated."""
    start = stream.read(4)
    magic = int.from_bytes(start, "big")
    sizes = stream.read(4 * (magic & 255)) if magic in kinds else b""
    if len(start) < 4 or magic not in kinds or len(sizes) < 4 * (magic & 255):
        expected = " or ".join(kind.to_bytes(4, "big").hex() for kind in kinds)
        raise UserError(
            f"{printable(file)} is no IDX file of the expected kind: expected it to begin with "
            f"{expected} and its dimensions, it begins with {(start + sizes).hex() or 'nothing'}"
        )
    shape = struct.unpack(f">{magic & 255}I", sizes)
    dtype = _TYPES[magic >> 8]
    promised = math.prod(shape) * dtype.itemsize
    content = stream.read(promised + 1) if promised <= limit else b""
    if len(content) != promised or 0 in shape:
        follow = f"{len(content)} follow" if len(content) < promised else "more follow"
        if promised > limit:
            follow = "the file is too short for that"
        raise UserError(
            f"{printable(file)} is damaged: its header promises "
            f"{' x '.join(map(str, shape))} elements in {promised} bytes, {follow}; fetch it again"
        )
    return np.frombuffer(content, dtype).reshape(shape)
