"""The standard streams of a process, which may be closed, or no longer read."""

import contextlib
import os
import sys


def open_streams() -> None:
    """Gives a process without standard streams some that discard everything.

    A name that the terminal's encoding does not have is written with escapes.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            try:
                os.fstat(number)
            except OSError:  # or the next file to be opened would be taken for this stream
                nowhere = os.open(os.devnull, os.O_RDWR)
                if nowhere != number:
                    os.dup2(nowhere, number)
                    os.close(nowhere)
            setattr(sys, name, open(os.devnull, mode))
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Sends standard output nowhere from now on, including what is flushed at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # a stream without a file
        pass
    finally:
        os.close(nowhere)


def flush() -> None:
    """Writes out what is buffered, as far as it can be written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
