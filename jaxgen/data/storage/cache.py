"""A cache of decoded arrays on disk, so that the next start need not decode again.

An entry is a folder of plain `.npy` files, which can be memory-mapped, and `entry.json`. It is
written beside its final place and renamed, so that it is whole or absent, also with several
processes at once. The leftovers of killed processes are removed at the next start. Entries are
verified against their fingerprint when they are read, and made again when they do not agree. The
whole cache may be deleted at any time.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen._files import expanded, home, printable, reason
from jaxgen.data.notices import recorded, say
from jaxgen.data.storage.fingerprints import fingerprint
from jaxgen.types import Dataset, Split

# To be raised whenever the same source files would give other arrays than before.
_VERSION = 2
# numpy parses the header of an .npy file as Python, and Python 3.11's parser counts the depth of
# all threads as one: where two parse at once, one of them may fail with a SystemError.
_READING = threading.Lock()
_MAKING = ".making-"  # the names of entries that are being written begin so


class _Entry(NamedTuple):
    """A decoded data set, its fingerprint, and what was said while it was decoded."""

    splits: dict[str, Split]
    fingerprint: str
    notices: list[str]


def directory() -> Path:
    """The user's cache: JAXGEN_CACHE_DIR, else XDG_CACHE_HOME/jaxgen, else ~/.cache/jaxgen.

    Without a home directory it is a folder for this user among the temporary files.
    """
    if chosen := os.environ.get("JAXGEN_CACHE_DIR"):
        return expanded(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expanded(base) / "jaxgen"
    if (folder := home()) is not None:
        return folder / ".cache" / "jaxgen"
    return Path(tempfile.gettempdir()) / f"jaxgen-{os.getuid()}"


def cached(name: str, source: Any, make: Callable[[], Mapping[str, Split]]) -> Dataset:
    """The data set made by `make`, or its copy in the cache if `source` was seen before.

    What `make` says of the data, as that pictures are left out, is said again with the copy.

    An unusable cache folder is no error: one line on stderr reports it, and the data are used
    without being cached.

    Args:
      name: what the data set is called; also the readable part of the entry's name.
      source: identifies the content that `make` would decode. Anything with a stable `repr`.
      make: () -> split name -> Split.
    """
    key = hashlib.sha256(repr((_VERSION, source)).encode()).hexdigest()[:16]
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name)[-48:].strip("-")
    entry = directory() / "datasets" / f"{slug}-{key}"
    remove_leftovers(entry.parent, _MAKING)
    found = _read(entry)
    if found is not None:
        for line in found.notices:
            say(line)
        return Dataset(name, found.splits, found.fingerprint)
    with recorded() as notices:
        splits = make()
    digest = fingerprint(splits)
    try:
        _write(entry, _Entry(dict(splits), digest, notices))
    except OSError as error:
        say(
            f"cannot cache decoded data in {printable(directory())}: {reason(error)}; going on "
            "without (set JAXGEN_CACHE_DIR to a writable folder of your own)"
        )
    return Dataset(name, splits, digest)


def private_folder(path: Path) -> Path:
    """Makes `path` with its parents where it is missing; only the user can open it.

    Raises:
      OSError: it cannot be made, or belongs to another user, who could change what is in it.
    """
    if not path.is_dir():
        if not path.parent.is_dir():
            private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    _check_owner(path)
    for folder in _owned(path):
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    return path


def _check_owner(path: Path) -> None:
    """Raises PermissionError where another user could change what is in the folder."""
    for folder in _owned(path):
        if folder.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(folder))


def _owned(path: Path) -> tuple[Path, ...]:
    """The folders that have to be the user's own for `path` to be so.

    That of the cache itself is one of them, unless the user chose it, perhaps to share it.
    """
    chosen = "JAXGEN_CACHE_DIR" in os.environ or "XDG_CACHE_HOME" in os.environ
    return (path,) if chosen or path.parent != directory() else (path, path.parent)


@contextlib.contextmanager
def working_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder that is removed in the end, or by the next process after this is killed.

    While it is in use a lock is held on `parent`, which the kernel releases when a process ends.
    """
    private_folder(parent)
    with _locked(parent, fcntl.LOCK_SH):
        working = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            yield working
        finally:
            shutil.rmtree(working, ignore_errors=True)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Removes the working folders of killed processes, unless one is in use now."""
    with contextlib.suppress(OSError):
        _check_owner(parent)
        leftovers = list(parent.glob(f"{prefix}*"))
        if leftovers:
            with _locked(parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
                for folder in leftovers:
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, mode: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, mode)
        yield
    finally:
        os.close(descriptor)


def _read(entry: Path) -> _Entry | None:
    """What an entry holds, or None where there is none that can be trusted."""
    try:
        _check_owner(entry.parent)
        record = json.loads((entry / "entry.json").read_text())
        with _READING:
            splits = {
                split: Split(
                    np.load(entry / f"{split}-images.npy", allow_pickle=False),
                    np.load(entry / f"{split}-labels.npy", allow_pickle=False)
                    if labelled
                    else None,
                )
                for split, labelled in record["labelled"].items()
            }
        found = _Entry(splits, record["fingerprint"], [str(n) for n in record.get("notices", [])])
        return found if fingerprint(splits) == found.fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None


def _write(entry: Path, content: _Entry) -> None:
    splits = content.splits
    with working_folder(entry.parent, _MAKING) as working:
        for split, (images, labels) in splits.items():
            np.save(working / f"{split}-images.npy", images, allow_pickle=False)
            if labels is not None:
                np.save(working / f"{split}-labels.npy", labels, allow_pickle=False)
        labelled = {split: arrays.labels is not None for split, arrays in splits.items()}
        record = {
            "fingerprint": content.fingerprint,
            "labelled": labelled,
            "notices": content.notices,
        }
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
