"""The folder of one member of a population."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgen._files import one_line_errors, printable, writing
from jaxgen.runs import console
from jaxgen.runs.keys import indexed_key
from jaxgen.runs.recorded import damaged
from jaxgen.runs.saving import Saving, Settings
from jaxgen.runs.training import Progress
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Array, PyTree

DIVERGED = "diverged.json"


class Member:
    """The folder of one member, its records and its checkpoints.

    Args:
      workdir: the folder.
      point: its hyperparameters.

    Attributes:
      path: of the folder.
      name: of the folder.
      seed: of the member.
      point: its hyperparameters.
      history: the records of its epochs.
      diverged_in: the epoch in which a metric was not finite; None as long as all are.

    Raises:
      UserError: what the folder says of a divergence is damaged.
    """

    def __init__(self, workdir: Workdir, point: Mapping[str, float]):
        self.path = workdir.path
        self.name = printable(workdir.path.name)
        self.seed: int = workdir.config["seed"]
        self.point = dict(point)
        self.history: list[dict[str, Any]] = []
        self._workdir = workdir
        self._saving = Saving(workdir.path / "checkpoints", Settings())
        self.diverged_in = self._read_diverged()

    def key(self, purpose: str, index: int = 0) -> Array:
        """As `Run.key`."""
        return indexed_key(self.seed, purpose, index)

    def restore(self, template: PyTree, step: int | None = None) -> Progress | None:
        """The newest progress, or that of a step; None where there is none."""
        return self._saving.restore(template, step)

    def begin(self, num_epochs: int) -> None:
        """Continues after so many epochs; later records are removed."""
        self.history = self._workdir.begin(num_epochs)
        self._workdir.write_config()

    def finish(self, record: dict[str, Any], state: PyTree, seconds: float) -> None:
        """Records and saves an epoch, unless the member has diverged in it or before."""
        if self.diverged_in is not None:
            return
        broken = next((name for name, value in record.items() if not np.isfinite(value)), None)
        if broken is not None:
            self._diverge(record["epoch"], broken)
            return
        self.history.append(record)
        self._workdir.append(record)
        progress = Progress(state, record["epoch"], seconds=seconds)
        self._saving.save(record["step"], progress, record)

    def close(self) -> None:
        """Waits for the last checkpoint, and lets other processes use the folder."""
        try:
            self._saving.close()
        finally:
            self._workdir.close()

    def _read_diverged(self) -> int | None:
        file = self.path / DIVERGED
        with one_line_errors("read", file, "check the permissions"):
            text = file.read_text() if file.is_file() else None
        if text is None:
            return None
        try:
            epoch = json.loads(text)["epoch"]
            if type(epoch) is not int or epoch < 1:
                raise ValueError(f"expected epoch to be a number from 1, found {epoch!r}")
            return epoch
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise damaged(file, error) from error

    def _diverge(self, epoch: int, metric: str) -> None:
        self.diverged_in = epoch
        with writing(self.path / DIVERGED) as temporary:
            temporary.write_text(json.dumps({"epoch": epoch, "metric": metric}) + "\n")
        console.say(
            f"{self.name} has diverged: {metric} is not finite after epoch {epoch}; what was saved "
            "before is kept"
        )
