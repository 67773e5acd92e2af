"""Whether a data set fits into memory."""

from pathlib import Path

from jaxgen.data.notices import say
from jaxgen.errors import UserError

# Of the available memory, what decoded images may take: on a CPU they are there twice while they
# are copied to the device, and training needs the rest.
SHARE = 0.5
_GROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say.

    The limit of a container counts as well.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no control groups, or no limit
        return free
    return min(free, max(0, limit - used))


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
    """
    if stream is not None:
        return stream
    if not exceeds_share(num_bytes):
        return False
    free = available() or 0
    say(
        f"{name}: the images would take {_size(num_bytes)} of {_size(free)} of available memory, "
        f"more than {SHARE:.0%}: they are read while training, as with --stream"
    )
    return True


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
