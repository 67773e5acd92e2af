"""Decoded arrays on disk, so that a second start need not decode again.

An entry is a folder of plain `.npy` files, which can be memory-mapped, and `entry.json`. It is
written beside its final place and renamed, so that it is whole or absent, also with several
processes at once. Entries are verified against their fingerprint as they are read, and made anew
when they do not agree. The whole cache may be deleted at any time.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.storage.fingerprints import fingerprint
from jaxgen.types import Dataset, Split

# Raise this whenever the same source files would give other arrays than before.
_VERSION = 1
# numpy parses the header of an .npy file as Python, and Python 3.11's parser counts the depth of
# all threads as one: where two parse at once, one of them may fail with a SystemError.
_READING = threading.Lock()


def directory() -> Path:
    """The user's cache: JAXGEN_CACHE_DIR, else XDG_CACHE_HOME/jaxgen, else ~/.cache/jaxgen."""
    if chosen := os.environ.get("JAXGEN_CACHE_DIR"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "jaxgen"
    return Path.home() / ".cache" / "jaxgen"


def cached(name: str, source: Any, make: Callable[[], Mapping[str, Split]]) -> Dataset:
    """The data set made by `make`, or its copy in the cache if `source` was seen before.

    An unusable cache folder is no error: one line on stderr says so and the data are used as made.

    Args:
      name: what the data set is called; also the readable part of the entry's name.
      source: identifies the content that `make` would decode. Anything with a stable `repr`.
      make: () -> split name -> Split.
    """
    key = hashlib.sha256(repr((_VERSION, source)).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name)[-48:].strip("-")
    entry = directory() / "datasets" / f"{slug}-{key}"
    found = _read(entry)
    if found is not None:
        return Dataset(name, *found)
    splits = make()
    digest = fingerprint(splits)
    try:
        _write(entry, splits, digest)
    except OSError as error:
        reason = error.strerror or error
        print(f"jaxgen: cannot cache decoded data in {directory()}: {reason}; going on without "
              "(set JAXGEN_CACHE_DIR to a writable folder)", file=sys.stderr)  # fmt: skip
    return Dataset(name, splits, digest)


def private_folder(path: Path) -> Path:
    """Makes `path` with its parents, readable by the user alone where it did not exist."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def _read(entry: Path) -> tuple[dict[str, Split], str] | None:
    """The splits and their fingerprint, or None where there is no entry that can be trusted."""
    try:
        record = json.loads((entry / "entry.json").read_text())
        with _READING:
            splits = {
                split: Split(
                    np.load(entry / f"{split}-images.npy"),
                    np.load(entry / f"{split}-labels.npy") if labelled else None,
                )
                for split, labelled in record["labelled"].items()
            }
        whole = fingerprint(splits) == record["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return (splits, record["fingerprint"]) if whole else None


def _write(entry: Path, splits: Mapping[str, Split], digest: str) -> None:
    private_folder(entry.parent)
    working = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
    try:
        for split, (images, labels) in splits.items():
            np.save(working / f"{split}-images.npy", images, allow_pickle=False)
            if labels is not None:
                np.save(working / f"{split}-labels.npy", labels, allow_pickle=False)
        labelled = {split: arrays.labels is not None for split, arrays in splits.items()}
        record = {"fingerprint": digest, "labelled": labelled}
        (working / "entry.json").write_text(json.dumps(record, indent=2) + "\n")
        if entry.exists() and _read(entry) is None:  # broken: out of the way, in one step
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.rename(entry, working / "broken")
            shutil.rmtree(working / "broken", ignore_errors=True)
        try:
            os.rename(working, entry)
        except OSError as error:
            # Another process was first, with the same content.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(working, ignore_errors=True)
