"""Checkpoints that are whole, verified and bit-exact, or are not used.

Orbax writes them: in the background, under a temporary name that becomes the epoch's number once
everything is on disk, keeping the newest few. It restores damaged arrays without noticing, so each
checkpoint carries a SHA-256 digest of every leaf, which is compared when it is read.

The leaves go to orbax packed into one array of bytes, described by a record beside it: for a small
model that halves the cost of saving one array a leaf, and no name, dtype or empty shape of a leaf
can be mistaken on the way.
"""

import functools
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import PyTree

if TYPE_CHECKING:  # takes a third of a second to import: only who has a checkpoint pays for it
    from orbax.checkpoint import CheckpointManager


class Checkpoint(NamedTuple):
    """What `Checkpoints.restore_latest` found.

    Attributes:
      epoch: the number it was saved under.
      state: the pytree that was saved, bit for bit, structured and placed like the template.
      metadata: what was saved beside it.
    """

    epoch: int
    state: PyTree
    metadata: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for the last save when it is left.

    Example:
      with Checkpoints(workdir / "checkpoints") as checkpoints:
          found = checkpoints.restore_latest(template=state)
          ...
          checkpoints.save(epoch, state, {"seed": 0})

    Args:
      directory: one folder per epoch is made in it; it is made where it is missing.
      max_to_keep: how many of the newest stay; with two, a damaged one still leaves one to use.
      warn: given one line for each checkpoint that is damaged and passed over;
        by default they go to standard error.

    Raises:
      UserError: the directory cannot be made or written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        max_to_keep: int = 2,
        warn: Callable[[str], object] | None = None,
    ):
        self._directory = Path(directory).absolute()
        self._max_to_keep = max_to_keep
        self._warn = warn or functools.partial(print, file=sys.stderr)
        with _writing_to(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self._directory).close()

    def save(self, epoch: int, state: PyTree, metadata: Mapping[str, Any] | None = None) -> None:
        """Starts saving a state; it has been copied on return, and may be donated.

        A crash before the next call (or the end of the context) may lose this checkpoint, never an
        earlier one. Checkpoints of this and later epochs are replaced.

        Args:
          epoch: the checkpoint's number.
          state: a pytree of arrays.
          metadata: anything that JSON can hold.

        Raises:
          UserError: this checkpoint, or the one before it, cannot be written.
        """
        from orbax.checkpoint import args

        packed, leaves = _pack(state)
        record = json.loads(
            json.dumps({"epoch": epoch, "metadata": dict(metadata or {}), "leaves": leaves})
        )
        record["digest"] = _digest_of_record(record)
        with _writing_to(self._directory):
            # A write that failed shows itself only here, and counts as a step until it has.
            self._manager.wait_until_finished()
            for stale in self._manager.all_steps():
                if stale >= epoch:
                    self._manager.delete(stale)
            items = args.Composite(
                state=args.StandardSave({"bytes": packed}), record=args.JsonSave(record)
            )
            # Without force, orbax may decide not to save, and says so in no way that is noticed.
            self._manager.save(epoch, args=items, force=True)

    def restore_latest(self, template: PyTree) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None where there is none at all.

        Args:
          template: a pytree with the structure, shapes and dtypes to expect: arrays, on whose
            devices the restored ones are placed, or what `jax.eval_shape` gives.

        Raises:
          UserError: the newest whole checkpoint holds another structure, shape or dtype; or there
            are checkpoints, and all of them are damaged.
        """
        if not any(entry.name.isdigit() for entry in self._directory.iterdir()):
            return None
        epochs = sorted(self._manager.all_steps(), reverse=True)
        for epoch in epochs:
            try:
                return self._restore(epoch, template)
            except (UserError, MemoryError):
                raise
            except Exception as error:  # damage surfaces as any of a dozen types
                self._warn(
                    f"checkpoint {self._directory / str(epoch)} is damaged and passed over:"
                    f" {_one_line(error)}"
                )
        if not epochs:
            return None
        raise UserError(
            f"expected a usable checkpoint in {self._directory}, found only damaged ones:"
            " restore the folder from a copy, or start anew with --overwrite"
        )

    def close(self) -> None:
        """Waits for the save under way.

        Raises:
          UserError: it cannot be written.
        """
        if "_manager" in vars(self):
            with _writing_to(self._directory):
                vars(self).pop("_manager").close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _restore(self, epoch: int, template: PyTree) -> Checkpoint:
        from orbax.checkpoint import args

        items = args.Composite(record=args.JsonRestore())
        record = self._manager.restore(epoch, args=items)["record"]
        if record.pop("digest") != _digest_of_record(record) or record["epoch"] != epoch:
            raise ValueError("its record is not what was saved")
        _check_structure(self._directory / str(epoch), record["leaves"], template)
        size = sum(leaf["bytes"] for leaf in record["leaves"])
        packed = {"bytes": np.empty(size, np.uint8)}
        items = args.Composite(state=args.StandardRestore(packed))
        packed = self._manager.restore(epoch, args=items)["state"]["bytes"]
        return Checkpoint(epoch, _unpack(packed, record["leaves"], template), record["metadata"])

    @functools.cached_property
    def _manager(self) -> "CheckpointManager":
        import orbax.checkpoint as ocp

        _silence(str(Path(ocp.__file__).parent))
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._max_to_keep,
            cleanup_tmp_directories=True,
            # In the background, a folder that cannot be made is waited for: 20 minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        return ocp.CheckpointManager(self._directory, options=options)


def _pack(state: PyTree) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """All leaves' bytes one after another, and a description of each."""
    named = jax.tree_util.tree_leaves_with_path(state)
    arrays = jax.device_get([leaf for _, leaf in named])
    packed = np.empty(sum(array.nbytes for array in arrays), np.uint8)
    leaves, start = [], 0
    for (path, _), array in zip(named, arrays, strict=True):
        stop = start + array.nbytes
        packed[start:stop] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        digest = hashlib.sha256(packed[start:stop].data).hexdigest()
        leaf = {"path": jax.tree_util.keystr(path), "bytes": array.nbytes, "sha256": digest}
        leaves.append(leaf | {"dtype": array.dtype.name, "shape": list(array.shape)})
        start = stop
    return packed, leaves


def _unpack(packed: np.ndarray, leaves: list[dict[str, Any]], template: PyTree) -> PyTree:
    """The inverse of `_pack`, with arrays where the template has them."""
    expected, structure = jax.tree.flatten(template)
    restored, start = [], 0
    for leaf, like in zip(leaves, expected, strict=True):
        content = packed[start : start + leaf["bytes"]]
        if hashlib.sha256(content.data).hexdigest() != leaf["sha256"]:
            raise ValueError(f"the bytes of {leaf['path']} are not those that were saved")
        array = content.view(like.dtype).reshape(like.shape)
        # Placing an array that the template leaves free would make it, and all that is computed
        # from it, belong to that device.
        free = not getattr(like, "committed", False)
        restored.append(jax.device_put(array, None if free else like.sharding))
        start += leaf["bytes"]
    return jax.tree.unflatten(structure, restored)


def _check_structure(path: Path, leaves: list[dict[str, Any]], template: PyTree) -> None:
    """Raises UserError for the first leaf in which a checkpoint differs from the template."""
    found = {leaf["path"]: f"{leaf['dtype']}{leaf['shape']}" for leaf in leaves}
    expected = {
        jax.tree_util.keystr(keys): f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        for keys, leaf in jax.tree_util.tree_leaves_with_path(template)
    }
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise UserError(
                f"checkpoint {path} is of another model: state{name} was expected to be"
                f" {expected.get(name, 'absent')} and is {found.get(name, 'absent')}; use the"
                " settings it was made with, another --workdir, or --overwrite"
            )


def _digest_of_record(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


@contextmanager
def _writing_to(directory: Path) -> Iterator[None]:
    """Turns what orbax and the file system raise while writing into one line for the user."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"cannot write checkpoints to {directory}: {_one_line(error)};"
            " free the space, mend the permissions, or choose another --workdir"
        ) from error


@functools.cache
def _silence(package: str) -> None:
    """Drops what orbax logs: what matters in it is raised as well, and told in one line."""
    logging.getLogger("absl").addFilter(lambda entry: not entry.pathname.startswith(package))
