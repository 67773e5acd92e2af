"""Whether a data set fits into memory."""

import importlib.util
from pathlib import Path

from jaxgen.data.notices import say
from jaxgen.errors import UserError

# Of the available memory, what decoded images may take: on a CPU they are there twice while they
# are copied to the device, and training needs the rest.
SHARE = 0.5
_REMEDY = "pip install 'jaxgen[stream]' to read them while training"
_GROUP = Path("/sys/fs/cgroup")
_GROUP_FILES = (  # limit, usage and statistics of the two versions of control groups
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def available() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say.

    The limit of a container counts as well.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return min([free, *(left for names in _GROUP_FILES if (left := _left_in_group(*names)))])


def _left_in_group(limit: str, usage: str, statistics: str) -> int | None:
    """Bytes below the limit of the control group; None without one."""
    try:
        used = int((_GROUP / usage).read_text())
        fields = dict(line.split() for line in (_GROUP / statistics).read_text().splitlines())
        # What is kept of files is given up before anything else.
        used -= int(fields["inactive_file"])
        return max(1, int((_GROUP / limit).read_text()) - used)
    except (OSError, ValueError, KeyError):
        return None


def exceeds_share(num_bytes: int) -> bool:
    """Whether so many bytes are more than the share of memory that images may take."""
    free = available()
    return free is not None and num_bytes > SHARE * free


def to_be_streamed(stream: bool | None, name: str, num_bytes: int) -> bool:
    """Whether a set that can be streamed is to be, which is announced where it was not asked for.

    Args:
      stream: what was asked for; None to decide by the memory.
      name: of the data set.
      num_bytes: of the decoded images.

    Raises:
      UserError: it was asked for, and grain is not installed.
    """
    if stream:
        _check_grain(name)
    if stream is not None:
        return stream
    if not exceeds_share(num_bytes):
        return False
    can = _has_grain()
    then = "they are read while training, as with --stream" if can else _REMEDY
    say(
        f"{name}: the images would take {_size(num_bytes)} of {_size(available() or 0)} of "
        f"available memory, more than {SHARE:.0%}: {then}"
    )
    return can


def _has_grain() -> bool:
    return importlib.util.find_spec("grain") is not None


def _check_grain(name: str) -> None:
    if not _has_grain():
        raise UserError(f"expected grain to stream {name}, found none: {_REMEDY}")


def check_held_out(name: str, split: str, num_bytes: int) -> None:
    """Raises UserError where a held-out split, which is kept in memory, does not fit."""
    if exceeds_share(num_bytes):
        raise UserError(
            f"the split {split} of {name} would take {_size(num_bytes)} of "
            f"{_size(available() or 0)} of "
            f"available memory, expected at most {SHARE:.0%}: it is kept in memory; hold fewer "
            "images out, or pass a smaller --resolution"
        )


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
