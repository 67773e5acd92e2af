"""One process at a time in the folder of a run."""

import contextlib
import fcntl
import json
import os
import platform
from pathlib import Path
from typing import IO

from jaxgen._files import printable
from jaxgen.errors import UserError

NAME = ".lock"

# The locks of this process: it may open a folder again, as a notebook does after an interrupt.
_held: dict[Path, IO[str]] = {}


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
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read()
        file.close()
        raise UserError(
            f"{printable(folder)} is in use by {_description(holder)}: wait for it to end, or "
            "choose another --workdir"
        ) from None
    except OSError:  # a file system without locks
        pass
    file.truncate(0)
    file.write(json.dumps({"host": platform.node(), "pid": os.getpid()}))
    file.flush()
    _held[path] = file


def release(folder: Path) -> None:
    """Lets other processes use a folder; without effect where this process does not hold it."""
    file = _held.pop(folder.resolve() / NAME, None)
    if file is not None:
        file.close()


def _is_same_file(file: IO[str], path: Path) -> bool:
    """Whether a folder still has the file that was locked, and was not made again since."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _description(holder: str) -> str:
    try:
        record = json.loads(holder)
        return f"process {record['pid']} on {record['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
