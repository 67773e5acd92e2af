"""Which files of a folder are pictures, in which split and class; what is left out, and why."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxgen._files import list_directory, printable, reason
from jaxgen.data.notices import say
from jaxgen.data.readers.pictures import suffixes
from jaxgen.errors import UserError

# First words of the names that folders of splits have, as torchvision and Kaggle lay them out.
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_EXPECTED = "a folder of pictures, with one sub-folder for each class or all in one"
_NAMED = 10  # how many of a kind a message names


class Part(NamedTuple):
    """The pictures of one split.

    Attributes:
      folder: where they are.
      names: paths relative to the folder, with "/", in order. The first of several components
        is the class.
    """

    folder: Path
    names: list[str]


class _LeftOut:
    """Counts what is left out, by reason; names what is rare and matters."""

    def __init__(self, root: Path):
        self.root = root
        self.counts: Counter[str] = Counter()
        self.endings: set[str] = set()
        self.named: list[str] = []
        self.runs: list[Path] = []

    def name(self, path: Path, why: str) -> None:
        self.named.append(f"{printable(path.relative_to(self.root))} ({why})")

    def __str__(self) -> str:
        parts = []
        for what, count in sorted(self.counts.items()):
            endings = f" ({_some(sorted(self.endings))})" if what == "of other kinds" else ""
            parts.append(f"{count} {what}{endings}")
        return ", ".join([*parts, *self.named[:_NAMED]]) + _more(self.named)


def find_pictures(directory: Path) -> dict[str, Part]:
    """The pictures of a folder by split, "train" alone where it is not laid out in splits.

    Sub-folders are splits where the names of all begin with the word train, training, test,
    testing, val, valid or validation, as in test1 or train_images, and one is train. Names that
    begin with a dot are left out, as are folders that hold a run of jaxgen, files of other kinds,
    dangling links and what may not be read. One line on stderr counts them by reason, and one says
    which folders are splits.

    Raises:
      UserError: there is no such folder, it holds no pictures, or it holds some in sub-folders and
        others beside them.
    """
    left_out = _LeftOut(directory)
    entries = list_directory(directory, _EXPECTED)
    splits = _split_folders(directory, entries)
    seen: set[str] = set()
    folders = splits or {"train": directory}
    parts = {
        split: Part(
            folder,
            sorted(
                path.relative_to(folder).as_posix() for path in _walk(folder, left_out, seen)
            ),
        )
        for split, folder in folders.items()
    }  # fmt: skip
    _check_not_empty(directory, parts, left_out)
    parts = {split: part for split, part in parts.items() if part.names}
    for part in parts.values():
        _check_layout(part)
    if splits:
        _say_splits(directory, parts)
    if text := str(left_out):
        say(f"{printable(directory)}: left out {text}")
    _say_empty(directory, folders, parts, left_out)
    return parts


def _split_folders(directory: Path, entries: list[Path]) -> dict[str, Path]:
    """Split -> its folder, where a folder is laid out in splits; {} where it is not."""
    folders = [entry for entry in entries if not _hidden(entry.name) and os.path.isdir(entry)]
    folders = [folder for folder in folders if not _holds_run(folder)]
    if len(folders) == 1 and _split_name(folders[0]) is None:
        # Archives often wrap everything in one more folder.
        inner = [entry for entry in _entries(folders[0]) if os.path.isdir(entry)]
        if len(inner) > 1 and "train" in map(_split_name, inner):
            return _split_folders(folders[0], inner)
    called = {folder: _split_name(folder) for folder in folders}
    splits = {split: folder for folder, split in called.items() if split}
    if "train" not in splits:
        return {}
    others = [folder.name for folder, split in called.items() if split is None]
    if others:
        if len(splits) > 1:
            say(
                f"{printable(directory)}: {_some([f.name for f in splits.values()])} are read as "
                f"classes, because {_some(others)} beside them is no split; name one folder to "
                "read it alone"
            )
        return {}
    if len(splits) < len(called):
        raise UserError(
            f"{printable(directory)} holds {_some([f.name for f in folders])}, of which two mean "
            "one split: rename or remove one"
        )
    return splits


def _split_name(folder: Path) -> str | None:
    """The split that a folder is called after: test1, test_images and Test -> "test"."""
    return _SPLITS.get(re.split(r"[^a-z]", folder.name.lower(), maxsplit=1)[0])


def _walk(folder: Path, left_out: _LeftOut, seen: set[str]) -> Iterator[Path]:
    """The pictures in a folder and below; links are followed, each folder is read once."""
    seen.add(os.path.realpath(folder))
    entries = _entries(folder, left_out)
    files = [entry for entry in entries if not os.path.isdir(entry)]
    # What is reached by a link comes after what is not, and so keeps its own name.
    folders = sorted(set(entries) - set(files), key=lambda path: (path.is_symlink(), path))
    for file in files:
        if _hidden(file.name):
            left_out.counts["hidden"] += 1
        elif why := _unusable(file):
            left_out.counts[why] += 1
        elif file.suffix.lower() not in suffixes():
            left_out.counts["of other kinds"] += 1
            left_out.endings.add(printable(file.suffix.lower()) or "no ending")
        else:
            yield file
    for inner in folders:
        if _hidden(inner.name):
            left_out.counts["hidden"] += 1
        elif os.path.realpath(inner) in seen:
            left_out.counts["links to what is read already"] += 1
        elif _holds_run(inner):
            left_out.name(inner, "a run of jaxgen")
            left_out.runs.append(inner)
        else:
            yield from _walk(inner, left_out, seen)


def _unusable(file: Path) -> str | None:
    """Why a file cannot be opened, as a plural; None where it can."""
    try:
        return None if stat.S_ISREG(file.stat().st_mode) else "no regular files"
    except FileNotFoundError:
        return "dangling links"
    except OSError as error:
        return f"out of reach ({reason(error)})"


def _entries(folder: Path, left_out: _LeftOut | None = None) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        if left_out is not None:
            left_out.name(folder, reason(error))
        return []


def _holds_run(folder: Path) -> bool:
    names = {entry.name for entry in _entries(folder)}
    return "config.json" in names and bool(names & {"metrics.jsonl", "checkpoints"})


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _check_not_empty(directory: Path, parts: dict[str, Part], left_out: _LeftOut) -> None:
    number = sum(len(part.names) for part in parts.values())
    if not parts["train"].names:
        where = printable(parts["train"].folder)
        content = f"holds no picture (left out {left_out})" if str(left_out) else "is empty"
        kinds = ", ".join(sorted(suffixes()))
        raise UserError(f"{where} {content}: expected {_EXPECTED} ({kinds})")
    if number == 1:
        raise UserError(
            f"{printable(directory)} holds one picture: expected at least two, to train and test"
        )


def _check_layout(part: Part) -> None:
    if len({"/" in name for name in part.names}) > 1:
        flat = next(name for name in part.names if "/" not in name)
        raise UserError(
            f"{printable(part.folder)} holds pictures both in sub-folders and beside them "
            f"({printable(flat)}): expected one sub-folder a class, or no sub-folders"
        )


def _say_splits(directory: Path, parts: dict[str, Part]) -> None:
    read = [f"{part.folder.name} ({len(part.names)} pictures)" for part in parts.values()]
    held_out = parts.get("test", parts.get("validation"))
    test = f"{held_out.folder.name} is test" if held_out else "a tenth of train is held out as test"
    say(f"{printable(directory)}: sub-folders are read as splits: {', '.join(read)}; {test}")


def _say_empty(
    directory: Path, folders: dict[str, Path], parts: dict[str, Part], left_out: _LeftOut
) -> None:
    """Names the classes without pictures."""
    empty = []
    for split, folder in folders.items():
        names = parts[split].names if split in parts else []
        filled = {name.split("/")[0] for name in names if "/" in name}
        if not names:
            empty.append(folder)
        for inner in _entries(folder):
            is_class = os.path.isdir(inner) and not _hidden(inner.name) and inner.name not in filled
            if is_class and not any(inner in (run, *run.parents) for run in left_out.runs):
                empty.append(inner)
    if empty:
        shown = _some([printable(path.relative_to(directory)) for path in empty])
        say(f"{printable(directory)}: no pictures in {shown}")


def _some(words: list[str]) -> str:
    return ", ".join(map(printable, words[:_NAMED])) + _more(words)


def _more(words: list[str]) -> str:
    return f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
