"""One checkpoint on disk: a folder of three files.

state.safetensors   the leaves of the state, named by their path in the pytree
checkpoint.json     step, metadata, and dtype, shape and CRC-32 of each leaf
SHA256SUMS          digests of the two, written last, in the format of `sha256sum -c`

A folder is complete when SHA256SUMS is exactly what its other files demand, so that a change of any
bit of any file, a missing file and a truncated one are detected. The CRC-32 of a leaf only serves
to name the damaged leaf.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen._files import printable
from jaxgen.errors import UserError
from jaxgen.runs._leaves import Leaf, placed, stored, type_name
from jaxgen.types import PyTree

STATE, RECORD, SUMS = "state.safetensors", "checkpoint.json", "SHA256SUMS"
FORMAT = "jaxgen checkpoint 2"


class DamagedError(Exception):
    """A checkpoint is not as it was saved; the message says where."""


def write(folder: Path, leaves: list[Leaf], step: int, metadata: Mapping[str, Any]) -> None:
    """Fills an empty folder; everything is on disk when it returns."""
    import safetensors.numpy

    described = {
        leaf.name: {"dtype": leaf.dtype, "shape": list(leaf.shape), "crc32": _crc(leaf.array)}
        for leaf in leaves
    }
    record = {"format": FORMAT, "step": step, "metadata": metadata, "leaves": described}
    contents = {
        STATE: safetensors.numpy.save({leaf.name: stored(leaf.array) for leaf in leaves}),
        RECORD: (json.dumps(record, indent=1) + "\n").encode(),
    }
    contents[SUMS] = _sums(contents)
    for name, content in contents.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """What checkpoint.json says, without a look at the state.

    Raises:
      DamagedError: it is missing or damaged.
    """
    try:
        return json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedError(f"{RECORD} cannot be read ({type(error).__name__})") from error


def read(folder: Path, step: int, template: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """State and metadata, verified.

    Args:
      folder: of the checkpoint.
      step: the number that it bears.
      template: structure, shapes, dtypes and devices to restore to.

    Raises:
      DamagedError: something in the folder is not as it was saved.
      UserError: the checkpoint was written by a version with another format, or the state that was
        saved has another structure than the template.
    """
    _check_format(folder)
    contents = {}
    for name in (STATE, RECORD, SUMS):
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise DamagedError(f"{name} cannot be read ({error.strerror})") from error
    sums = contents.pop(SUMS)
    if sums != _sums(contents):
        raise DamagedError(_difference(contents, sums))
    try:
        record = json.loads(contents[RECORD])
        if record["format"] != FORMAT:
            raise _other_version(folder)
        if record["step"] != step:
            raise DamagedError(f"it was saved as step {record['step']}")
        _check_structure(folder, record["leaves"], template)
        return _restored(contents[STATE], template), record["metadata"]
    except (UserError, DamagedError, MemoryError):
        raise
    except Exception as error:  # files that agree with their digests and not with each other
        raise DamagedError(f"its files do not fit together ({type(error).__name__})") from error


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sums(contents: Mapping[str, bytes]) -> bytes:
    lines = (
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()
    )
    return "".join(lines).encode()


def _difference(contents: Mapping[str, bytes], sums: bytes) -> str:
    """Which file is damaged and, where it is a leaf of the state, which one."""
    lines = sums.decode(errors="replace").splitlines()
    for name, line in zip(contents, _sums(contents).decode().splitlines(), strict=True):
        if line in lines:
            continue
        if not any(other.endswith(f"  {name}") for other in lines):
            return f"{SUMS} is damaged, it has no line for {name}"
        return f"{name} does not have the digest in {SUMS}{_damaged_leaves(name, contents)}"
    return f"{SUMS} is damaged"


def _damaged_leaves(name: str, contents: Mapping[str, bytes]) -> str:
    if name != STATE:
        return ""
    try:
        records = json.loads(contents[RECORD])["leaves"]
        data = _bytes_of_leaves(contents[STATE])
        found = [leaf for leaf, of in records.items() if zlib.crc32(data[leaf]) != of["crc32"]]
    except Exception:  # the header is damaged as well, in any of many ways
        return ", in its header"
    return f", in leaf {', '.join(found)}" if found else ""


def _bytes_of_leaves(content: bytes) -> dict[str, bytes]:
    import safetensors

    return {name: described["data"] for name, described in safetensors.deserialize(content)}


def _check_format(folder: Path) -> None:
    """Refuses a checkpoint that an earlier version wrote by orbax."""
    if (folder / "_CHECKPOINT_METADATA").exists() or (folder / "state").is_dir():
        raise _other_version(folder)


def _other_version(folder: Path) -> UserError:
    return UserError(
        f"checkpoint {printable(folder)} was written by another version of jaxgen, in a format "
        "that this version does not read: continue the run with that version, or start over with "
        "--overwrite"
    )


def _check_structure(folder: Path, leaves: Mapping[str, Any], template: PyTree) -> None:
    """Raises UserError for the first leaf in which a checkpoint differs from the template."""
    found = {name: f"{leaf['dtype']}{leaf['shape']}" for name, leaf in leaves.items()}
    expected = {
        jax.tree_util.keystr(path): f"{type_name(leaf.dtype)}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(template)
    }
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise UserError(
                f"checkpoint {printable(folder)} is of another model: state{name} was expected to "
                f"be {expected.get(name, 'absent')} and is {found.get(name, 'absent')}; use the "
                "settings it was made with, another --workdir, or --overwrite"
            )


def _restored(content: bytes, template: PyTree) -> PyTree:
    data = _bytes_of_leaves(content)
    named, structure = jax.tree_util.tree_flatten_with_path(template)
    leaves = [placed(data[jax.tree_util.keystr(path)], like) for path, like in named]
    return jax.tree.unflatten(structure, leaves)


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
