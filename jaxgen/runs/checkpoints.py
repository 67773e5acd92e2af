"""Checkpoints that are complete, verified and bit-exact.

A state is copied to host memory when `save` is called, and written by a background thread: into a
temporary folder, which is renamed to the number of the step once all its files are on disk.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

from jaxgen._files import one_line_errors, printable, reason
from jaxgen.errors import UserError
from jaxgen.runs import _checkpoint_files as files
from jaxgen.runs._best import best_first
from jaxgen.runs._leaves import Leaf, host_leaves
from jaxgen.types import PyTree

REMEDY = "free the space, change the permissions, or choose another --workdir"
TEMPORARY = ".tmp"
REPLACED = f".replaced{TEMPORARY}"


class Checkpoint(NamedTuple):
    """A restored checkpoint.

    Attributes:
      step: the number it was saved under.
      state: the pytree that was saved, bit for bit, structured and placed like the template.
      metadata: what was saved beside it.
    """

    step: int
    state: PyTree
    metadata: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for the last save on exit.

    Only one process may save to a directory at a time: `Workdir` locks it.

    Example:
      with Checkpoints(workdir / "checkpoints") as checkpoints:
          found = checkpoints.restore_latest(template=state)
          ...
          checkpoints.save(step, state, {"seed": 0})

    Args:
      directory: one folder per checkpoint is made in it; it is created where it is missing.
      keep: number of newest checkpoints to keep; with two, one is left if the newest is damaged.
      warn: called with one line for each checkpoint that is damaged and skipped; by default they
        are printed to standard error.
      keep_best: a number in the metadata, such as "validation/loss". The checkpoint with its best
        value is kept beside the newest: the largest of an elbo, likelihood or accuracy, else the
        smallest. Checkpoints without it, or with NaN, do not take part.
      read_only: nothing is created or removed, and the directory need not exist.

    Raises:
      UserError: the directory cannot be created or written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        keep: int = 2,
        warn: Callable[[str], object] | None = None,
        *,
        keep_best: str | None = None,
        read_only: bool = False,
    ):
        if keep < 1:
            raise UserError(f"expected to keep at least 1 checkpoint, got {keep}")
        self._directory = Path(directory).absolute()
        self._keep = keep
        self._keep_best = keep_best
        self._warn = warn or (lambda line: print(line, file=sys.stderr))
        self._pending: Future[None] | None = None
        self._newest: float = float("inf")  # step of the newest that is known to be good
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        if read_only:
            return
        with self._writing():
            self._directory.mkdir(parents=True, exist_ok=True)
            for replaced in self._directory.glob(f".*{REPLACED}"):
                final = self._directory / replaced.name.removeprefix(".").removesuffix(REPLACED)
                if not final.exists():
                    replaced.rename(final)
            for leftover in self._directory.glob(f".*{TEMPORARY}"):  # of processes that were killed
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            (self._directory / f".{os.getpid()}{TEMPORARY}").mkdir()
            (self._directory / f".{os.getpid()}{TEMPORARY}").rmdir()

    def save(self, step: int, state: PyTree, metadata: Mapping[str, Any] | None = None) -> None:
        """Starts to save a state; it has been copied on return, and may be donated.

        A crash before the next call (or the end of the context) may lose this checkpoint, never an
        earlier one. Checkpoints of this and later steps are replaced.

        Args:
          step: the checkpoint's number.
          state: a pytree of arrays.
          metadata: anything that JSON can hold.

        Raises:
          UserError: the checkpoint before this one could not be written.
        """
        self.wait()
        recorded = json.loads(json.dumps(dict(metadata or {})))
        leaves = host_leaves(state)
        self._pending = self._executor.submit(self._write, step, leaves, recorded)

    def restore_latest(self, template: PyTree) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None where there is none at all.

        Args:
          template: a pytree with the structure, shapes and dtypes to expect: arrays, on whose
            devices the restored ones are placed, or what `jax.eval_shape` returns.

        Raises:
          UserError: the newest undamaged checkpoint has another structure, shape or dtype, or an
            older format; or there are checkpoints, and all of them are damaged.
        """
        self.wait()
        found = self._first_undamaged(self.steps()[::-1], template)
        self._newest = float("inf") if found is None else found.step
        return found

    def restore_best(self, template: PyTree) -> Checkpoint | None:
        """The undamaged checkpoint with the best `keep_best`; None where none has that number.

        Args and errors are those of `restore_latest`.
        """
        self.wait()
        return self._first_undamaged(self._best_first(), template)

    def restore_step(self, step: int, template: PyTree) -> Checkpoint | None:
        """The checkpoint of one step; None where there is none.

        Args and errors are those of `restore_latest`.
        """
        self.wait()
        return self._first_undamaged([step] if step in self.steps() else [], template)

    def steps(self) -> list[int]:
        """The steps of all checkpoints, damaged ones too, in rising order."""
        if not self._directory.is_dir():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdigit())

    def record_of(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of a step; {} where that is damaged."""
        try:
            return files.read_record(self._directory / str(step))["metadata"]
        except (files.DamagedError, KeyError, TypeError):
            return {}

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          UserError: it could not be written.
        """
        if self._pending is not None:
            self._pending.exception()  # an interrupt here leaves the save to be waited for again
            pending, self._pending = self._pending, None
            with self._writing():
                pending.result()

    def close(self) -> None:
        """Waits for the last save, and ends the background thread.

        Raises:
          UserError: the last save could not be written.
        """
        try:
            self.wait()
        finally:
            self._executor.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writing(self) -> Any:
        return one_line_errors("write checkpoints to", self._directory, REMEDY)

    def _write(self, step: int, leaves: list[Leaf], metadata: dict[str, Any]) -> None:
        """Writes a checkpoint and removes those that are no longer kept; runs in the background."""
        final = self._directory / str(step)
        temporary = self._directory / f".{step}.{os.getpid()}{TEMPORARY}"
        temporary.mkdir()
        try:
            files.write(temporary, leaves, step, metadata)
            for later in self.steps():
                if later > min(step, self._newest):  # or damaged, and passed over by restoring
                    self._remove(later)
            if final.exists():  # of the same step: until the new one is in place it can come back
                replaced = self._directory / f".{step}{REPLACED}"
                final.rename(replaced)
                temporary.rename(final)
                shutil.rmtree(replaced)
            else:
                temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        files.sync_folder(self._directory)
        self._newest = step
        kept = {*self.steps()[-self._keep :], *self._best_first()[:1]}
        for old in self.steps():
            if old not in kept:
                self._remove(old)

    def _remove(self, step: int) -> None:
        """Removes a checkpoint such that no part of it is ever found under its number."""
        removed = self._directory / f".{step}.removed{TEMPORARY}"
        (self._directory / str(step)).rename(removed)
        shutil.rmtree(removed)

    def _first_undamaged(self, steps: list[int], template: PyTree) -> Checkpoint | None:
        for step in steps:
            folder = self._directory / str(step)
            try:
                return Checkpoint(step, *files.read(folder, step, template))
            except files.DamagedError as error:
                self._warn(
                    f"checkpoint {printable(folder)} is damaged and skipped: {reason(error)}"
                )
        if not steps:
            return None
        raise UserError(
            f"expected a usable checkpoint in {printable(self._directory)}, found only damaged "
            "ones: restore the folder from a copy, or start over with --overwrite"
        )

    def _best_first(self) -> list[int]:
        """The steps that have a value of `keep_best`, the best first."""
        metric = self._keep_best or ""
        return best_first({s: self.record_of(s).get(metric) for s in self.steps()}, metric)
