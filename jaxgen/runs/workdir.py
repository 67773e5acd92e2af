"""The folder of one run, each of its files written whole or not at all.

config.json     what the run depends on, with versions and device
metrics.jsonl   one JSON object per epoch
summary.json    final numbers and timings
report.html     all of it to look at
images/         pictures
tensorboard/    the same metrics for TensorBoard
checkpoints/    the newest states, and the best where it is asked for
looks/          what a GAN draws within an epoch, while a checkpoint may return to it
.lock           held by the process that writes here
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jaxgen._files import one_line_errors, printable, replacing
from jaxgen.errors import UserError
from jaxgen.runs import _locking
from jaxgen.runs.recorded import read_config, read_history

# What may differ between runs that share a workdir: how far to train, with what, and where the data
# and the initial weights are. Their content is compared by its fingerprint.
FREE_FIELDS = ("num_epochs", "versions", "device", "dataset", "data_dir", "init_from")

# What runs of earlier versions had, which did not record it.
EARLIER = {"precision": "float32"}

# images/samples-003.png, fixed-latents/0003.npz: the number of an epoch before the suffix.
OF_EPOCH = re.compile(r"(?:^|-)(\d{3,})\.\w+$")


class Workdir:
    """Opens the folder of a run: a new one, or one to return to.

    Args:
      path: the folder.
      config: what config.json is to contain; JSON types.
      overwrite: delete an earlier run first.
      free: fields that may differ from an earlier run's, beside `FREE_FIELDS`.

    Raises:
      UserError: the folder cannot be written, is in use by another process, or holds something
        else than a run, or a run of another configuration; the message names the fields that
        differ.
    """

    def __init__(
        self, path: Path, config: Mapping[str, Any], overwrite: bool, free: Sequence[str] = ()
    ):
        self.path = path
        self._free = {*FREE_FIELDS, *free}
        self.config: dict[str, Any] = json.loads(json.dumps(config))  # tuples become lists
        with _refusals(path):
            earlier = (path / "config.json").is_file()
            if path.is_dir() and not earlier and _entries(path):
                raise UserError(
                    f"{printable(path)} is not empty and holds no run (no config.json): "
                    "choose another --workdir"
                )
            path.mkdir(parents=True, exist_ok=True)
            _locking.acquire(path)
        try:
            self._open(earlier, overwrite)
        except BaseException:
            self.close()
            raise

    def _open(self, earlier: bool, overwrite: bool) -> None:
        with _refusals(self.path):
            if earlier and overwrite:
                for entry in _entries(self.path):
                    shutil.rmtree(entry) if _is_real_folder(entry) else entry.unlink()
                earlier = False
            for leftover in self.path.rglob(".*.tmp"):  # of files that killed processes wrote
                if leftover.is_file():
                    leftover.unlink()
        if earlier:
            self._recorded = read_config(self.path)
            self._check_same_run(self._recorded)
            return
        self._recorded = None
        self.write_config()

    def close(self) -> None:
        """Lets other processes use the folder."""
        _locking.release(self.path)

    def write_config(self) -> None:
        """Writes config.json, unless it is as recorded already."""
        if self.config != self._recorded:
            self._write_json("config.json", self.config)
            self._recorded = self.config

    def begin(self, num_epochs: int) -> list[dict[str, Any]]:
        """The records of the first `num_epochs` epochs; what was written after them is removed.

        Raises:
          UserError: where they are more epochs than were asked for, records are missing or
            damaged, or a file cannot be removed.
        """
        if num_epochs > self.config["num_epochs"]:
            raise UserError(
                f"{printable(self.path)} holds {num_epochs} epochs, more than --num-epochs "
                f"{self.config['num_epochs']}: ask for more, or --overwrite to start from nothing"
            )
        history = read_history(self.path, num_epochs)
        with _refusals(self.path):
            for path in (*self.path.glob("images/*"), *self.path.glob("fixed-latents/*")):
                number = OF_EPOCH.search(path.name)
                if number and int(number[1]) > num_epochs:
                    path.unlink()
            (self.path / "summary.json").unlink(missing_ok=True)
        lines = (f"{json.dumps(record, allow_nan=False)}\n" for record in history)
        self._write("metrics.jsonl", "".join(lines))
        return history

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one epoch to metrics.jsonl.

        It is on disk on return: a checkpoint that outlives a power failure is of no use without it.
        """
        with _refusals(self.path), (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json."""
        self._write_json("summary.json", summary)

    def last_pictures(self) -> list[Path]:
        """The pictures that belong to no single epoch."""
        return sorted(p for p in self.path.glob("images/*.png") if not OF_EPOCH.search(p.name))

    def _check_same_run(self, old: Mapping[str, Any]) -> None:
        new, old = EARLIER | self.config, EARLIER | dict(old)
        names = sorted((old.keys() | new.keys()) - self._free)
        differing = [name for name in names if old.get(name) != new.get(name)]
        if "dataset_fingerprint" in differing:
            differing = ["dataset", *differing]
        if differing:
            differences = (
                f"{name} {old.get(name)} there, {new.get(name)} here" for name in differing
            )
            raise UserError(
                f"{printable(self.path)} holds another run ({'; '.join(differences)}): "
                "choose another --workdir, or --overwrite to start from nothing"
            )

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def _write(self, name: str, text: str) -> None:
        with _refusals(self.path), replacing(self.path / name) as temporary:
            temporary.write_text(text)


def _entries(path: Path) -> list[Path]:
    """What a folder holds, the lock aside."""
    return [entry for entry in path.iterdir() if entry.name != _locking.NAME]


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _refusals(path: Path) -> AbstractContextManager[None]:
    """Turns a refusal of the file system into a UserError that names `path`."""
    return one_line_errors("use", path, "choose another --workdir or make room there")
