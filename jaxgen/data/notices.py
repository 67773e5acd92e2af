"""What the user should know about a data set that is being loaded."""

import contextlib
import contextvars
import sys
from collections.abc import Iterator

_recording: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "recording", default=None
)


def say(line: str) -> None:
    """Prints one line on stderr, where it does not mix with the results of a command."""
    print(f"jaxgen: {line}", file=sys.stderr)
    if (recording := _recording.get()) is not None:
        recording.append(line)


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """The lines that are said meanwhile, so that the cache can say them again."""
    lines: list[str] = []
    token = _recording.set(lines)
    try:
        yield lines
    finally:
        _recording.reset(token)
