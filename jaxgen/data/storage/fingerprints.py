"""A digest of the content of a data set, independent of how it was loaded."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import one_line_errors
from jaxgen.data.parallel import map_pictures
from jaxgen.types import Split

BY_CONTENT, BY_TIME = "files:", "times:"  # what the fingerprints of streamed sets begin with


def fingerprint(splits: Mapping[str, Split]) -> str:
    """Digest of names, shapes, types and bytes of all arrays; 32 hexadecimal digits.

    The order of the examples matters, because it decides which batches a seed gives. The order of
    the splits does not. SHA-256 also serves to verify the cache, and takes 35 ms for MNIST.
    """
    digest = hashlib.sha256()
    for name in sorted(splits):
        for field, array in zip(Split._fields, splits[name], strict=True):
            if array is None:
                digest.update(f"{name} {field} none\n".encode())
            else:
                little = array.dtype.newbyteorder("<")
                digest.update(f"{name} {field} {little.str} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array, little).data)
    return digest.hexdigest()[:32]


def fingerprint_of_files(
    files: Sequence[tuple[str, Path]], arrangement: Any, *, fast: bool = False
) -> str:
    """Digest of the files of a streamed set, each read once; after "files:" 32 digits.

    Args:
      files: a name, which stays when the set is moved, and the path of each, in order.
      arrangement: what else decides which images come in which order; with a stable `repr`.
      fast: of their names, sizes and times, without reading them; after "times:".

    Raises:
      UserError: a file cannot be read.
    """

    def describe(item: tuple[str, Path]) -> str:
        name, path = item
        with one_line_errors("read", path, "restore it, or delete it for good"):
            stat = path.stat()
            if fast:
                return repr((name, stat.st_size, stat.st_mtime_ns))
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        return repr((name, stat.st_size, content))

    digest = hashlib.sha256(repr(arrangement).encode())
    for line in map_pictures(describe, files, "reading files"):
        digest.update(f"{line}\n".encode())
    return (BY_TIME if fast else BY_CONTENT) + digest.hexdigest()[:32]
