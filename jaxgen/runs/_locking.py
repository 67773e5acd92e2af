"""One process at a time in the folder of a run."""

import contextlib
import fcntl
import json
import os
import platform
from pathlib import Path

from jaxgen._files import printable
from jaxgen.errors import UserError

NAME = ".lock"
_MAX_BYTES = 1000  # of what a lock says of its holder

# The locks of this process: it may open a folder again, as a notebook does after an interrupt. They
# are descriptors, not files: Python warns of a file that is open when the process ends.
_held: dict[Path, int] = {}


def acquire(folder: Path) -> None:
    """Reserves a folder for this process until `release`, or until the process ends.

    The lock is the kernel's (flock) and ends with the process, however that ends. The file
    remains, and names the process that last held it.

    Raises:
      UserError: another process uses the folder.
      OSError: the folder cannot be written.
    """
    path = folder.resolve() / NAME
    if path in _held and _is_same_file(_held[path], path):
        return
    release(folder)  # the file was removed, perhaps with the folder
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, _MAX_BYTES)
        os.close(descriptor)
        raise UserError(
            f"{printable(folder)} is in use by {_description(holder)}: wait for it to end, or "
            "choose another --workdir"
        ) from None
    except OSError:  # a file system without locks
        pass
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps({"host": platform.node(), "pid": os.getpid()}).encode())
    _held[path] = descriptor


def release(folder: Path) -> None:
    """Lets other processes use a folder; without effect where this process does not hold it."""
    descriptor = _held.pop(folder.resolve() / NAME, None)
    if descriptor is not None:
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether a folder still has the file that was locked, and was not made again since."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _description(holder: bytes) -> str:
    try:
        record = json.loads(holder)
        return f"process {record['pid']} on {record['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
