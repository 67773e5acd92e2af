"""Where the four IDX files of a set lie in a folder, under the names that the sets have."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxgen._files import list_directory, printable
from jaxgen.errors import UserError

# train-images-idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte, qmnist-test-labels-idx2-int;
# some copies have "images.idx3" for "images-idx3".
_NAME = re.compile(
    r"(?:(?P<set>.+)-)?(?P<split>train|t10k|test)-(?P<kind>images|labels)"
    r"[-.]idx\d-(?:ubyte|int)(?P<packed>\.gz)?"
)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_ROLES = tuple((split, kind) for split in ("train", "test") for kind in ("images", "labels"))
_EXPECTED = "a folder of the four IDX files"
_DEPTH = 2  # torchvision lays them out in NAME/raw

Role = tuple[str, str]  # split and kind


class IdxFiles(NamedTuple):
    """The files of one set.

    Attributes:
      splits: split -> (images file, labels file).
      transposed: whether rows and columns of the images are exchanged.
    """

    splits: dict[str, tuple[Path, Path]]
    transposed: bool


def find_files(directory: Path) -> IdxFiles:
    """The files of the one set in `directory`, or in a sub-folder such as `raw` or `NAME/raw`.

    Each may be compressed or not, and lie in a folder of its own name, as Kaggle has it. Of
    several sets in a folder the last component chooses one: `DIR/emnist-letters`.

    Raises:
      UserError: the directory does not exist, lacks some of the four files, or holds several sets.
    """
    chosen = None
    if not os.path.isdir(directory) and _sets(directory.parent, directory.name):
        directory, chosen = directory.parent, directory.name
    list_directory(directory, _EXPECTED)
    found = [
        (folder, name, files)
        for folder in _folders(directory, _DEPTH)
        for name, files in sorted(_sets(folder, chosen).items())
    ]
    whole = [each for each in found if len(each[2]) == len(_ROLES)]
    if not whole:
        raise _incomplete(directory, found)
    # A set without a name, or directly in the folder, comes before others.
    first = [each for each in whole if each[:2] == (directory, chosen or "")]
    candidates = first or [each for each in whole if each[0] == directory] or whole
    if len(candidates) > 1:
        names = " or ".join(f"idx:{printable(folder / name)}" for folder, name, _ in candidates)
        raise UserError(f"{printable(directory)} holds several sets: name one, {names}")
    ((_, name, files),) = candidates
    splits = {
        split: (files[split, "images"], files[split, "labels"]) for split in ("train", "test")
    }
    return IdxFiles(splits, transposed=name.lower().startswith("emnist"))


def _folders(directory: Path, depth: int) -> Iterable[Path]:
    yield directory
    if depth:
        for inner in _entries(directory):
            if os.path.isdir(inner) and not _NAME.fullmatch(inner.name):
                yield from _folders(inner, depth - 1)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _sets(folder: Path, chosen: str | None) -> dict[str, dict[Role, Path]]:
    """Name of a set, "" where it has none -> its files that are in the folder."""
    files = []
    for entry in _entries(folder):
        if _NAME.fullmatch(entry.name):
            inside = [entry / entry.name, entry / f"{entry.name}.gz"]
            files += inside if os.path.isdir(entry) else [entry]
    sets: dict[str, dict[Role, Path]] = {}
    for file in files:
        match = _NAME.fullmatch(file.name)
        name = match["set"] or "" if match else None
        if match is None or name is None or chosen not in (None, name) or not os.path.isfile(file):
            continue
        of_set = sets.setdefault(name, {})
        # torchvision keeps both forms, and the uncompressed one is read faster.
        if not match["packed"] or (_SPLITS[match["split"]], match["kind"]) not in of_set:
            of_set[_SPLITS[match["split"]], match["kind"]] = file
    return sets


def _incomplete(directory: Path, found: list[tuple[Path, str, dict[Role, Path]]]) -> UserError:
    """The error that names what the most complete set lacks."""
    folder, name, files = max(found, key=lambda each: len(each[2]), default=(directory, "", {}))
    lacking = [_published(name, *role) for role in _ROLES if role not in files]
    return UserError(
        f"{printable(folder)} lacks {', '.join(lacking)} (each may end in .gz): expected the four "
        "IDX files of an MNIST-like set"
    )


def _published(name: str, split: str, kind: str) -> str:
    prefix = f"{name}-{split}" if name else {"train": "train", "test": "t10k"}[split]
    return f"{prefix}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
