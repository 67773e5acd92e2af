"""The folder of one run, each of its files written whole or not at all.

config.json     what the run depends on, with versions and device
metrics.jsonl   one JSON object an epoch
summary.json    final numbers and timings
images/         pictures
tensorboard/    the same metrics for TensorBoard
checkpoints/    the newest states
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen._files import replacing
from jaxgen.errors import UserError

# What may differ between runs that share a workdir: how far to train, with what, and where.
FREE_FIELDS = ("num_epochs", "versions", "device")


class Workdir:
    """Opens the folder of a run: a new one, or one to return to.

    Args:
      path: the folder.
      config: what config.json is to say; JSON types.
      overwrite: delete an earlier run first.

    Raises:
      UserError: the folder cannot be written, holds something else than a run, or a run of
        another configuration; the message names the fields that differ.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], overwrite: bool):
        self.path = path
        config = json.loads(json.dumps(config))  # as it will be read again: tuples become lists
        with _refusals(path):
            earlier = (path / "config.json").is_file()
            if path.is_dir() and any(path.iterdir()) and not earlier:
                raise UserError(
                    f"{path} is not empty and holds no run (no config.json): "
                    "choose another --workdir"
                )
            if earlier and overwrite:
                shutil.rmtree(path)
                earlier = False
            if earlier:
                self._check_same_run(config)
            path.mkdir(parents=True, exist_ok=True)
        if not earlier:
            self.write_config(config)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes config.json."""
        self._write_json("config.json", config)

    def read_history(self, num_epochs: int) -> list[dict[str, Any]]:
        """The first `num_epochs` lines of metrics.jsonl, which loses what came after them.

        Raises:
          UserError: where there are fewer, or they are damaged.
        """
        path = self.path / "metrics.jsonl"
        with _refusals(path):
            lines = path.read_text().splitlines()[:num_epochs] if path.is_file() else []
        try:
            history = [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): --overwrite to start anew") from error
        if len(history) < num_epochs:
            raise UserError(
                f"{path} has {len(history)} lines, but {num_epochs} epochs are saved: "
                "--overwrite to start anew"
            )
        self._write("metrics.jsonl", "".join(f"{line}\n" for line in lines))
        return history

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one epoch to metrics.jsonl."""
        with _refusals(self.path), (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json."""
        self._write_json("summary.json", summary)

    def _check_same_run(self, config: Mapping[str, Any]) -> None:
        path = self.path / "config.json"
        try:
            old = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}): choose another --workdir, or --overwrite"
            ) from error
        differences = [
            f"{name} {old.get(name)} there, {config.get(name)} here"
            for name in sorted(old.keys() | config.keys())
            if name not in FREE_FIELDS and old.get(name) != config.get(name)
        ]
        if differences:
            raise UserError(
                f"{self.path} holds another run ({'; '.join(differences)}): "
                "choose another --workdir, or --overwrite to start anew"
            )

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        with _refusals(self.path), replacing(self.path / name) as temporary:
            temporary.write_text(text)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turns a refusal of the file system into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot use {path} ({reason}): choose another --workdir or make room there"
        ) from error
