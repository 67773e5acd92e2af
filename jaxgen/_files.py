"""Paths, directories and files of the user: expanded, listed and written, with one-line errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxgen.errors import UserError


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~name` replaced by that home directory.

    Raises:
      UserError: the home directory is not known, or the path contains a null character.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise UserError(f"expected a path, got {text!r} with a null character: remove it")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(
            f"cannot expand {printable(text.partition('/')[0])} in {printable(text)}: no home "
            "directory is known for that user; set HOME or write the path in full"
        ) from None


def home() -> Path | None:
    """The user's home directory; None where neither HOME nor the user database names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that every stream can encode: bytes that are not UTF-8 become `\xNN`."""
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def reason(error: BaseException) -> str:
    """What an exception says, in one line: for one of the operating system, its own words."""
    said = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
    return said or type(error).__name__


@contextmanager
def one_line_errors(action: str, path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Turns an OSError of the body into "cannot ACTION PATH (REASON): REMEDY".

    Args:
      action: what is being done with the path, such as "read" or "write to".
      path: the file or directory that the message names.
      remedy: what the user can do about it.

    Raises:
      UserError: in place of the OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {action} {printable(path)} ({reason(error)}): {remedy}") from error


def list_directory(path: str | os.PathLike[str], expected: str) -> list[Path]:
    """The entries of a directory in the order of their names.

    Args:
      path: the directory.
      expected: what it should be, such as "a folder of pictures"; part of the error message.

    Raises:
      UserError: it does not exist, is not a directory or may not be read.
    """
    path = Path(path)
    with one_line_errors("read", path, f"expected {expected} that you may read"):
        if not path.exists():
            raise UserError(f"{printable(path)} does not exist: expected {expected}")
        if not path.is_dir():
            raise UserError(f"{printable(path)} is not a directory: expected {expected}")
        return sorted(path.iterdir())


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the same directory, renamed to `path` when the body ends.

    The directory is made where it is missing. After an exception the temporary file is removed
    and `path` is as before.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`replacing`, where a write that fails is a mistake to be told in one line.

    Raises:
      UserError: in place of an OSError.
    """
    remedy = "free the space, change the permissions, or choose another folder"
    with one_line_errors("write", path, remedy), replacing(path) as temporary:
        yield temporary
