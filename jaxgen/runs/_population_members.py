"""The folder of one member of a population."""

import json
import zlib
from typing import Any

import jax
import numpy as np

from jaxgen._files import printable, writing
from jaxgen.runs import console
from jaxgen.runs.saving import Saving, Settings
from jaxgen.runs.training import Progress
from jaxgen.runs.workdir import Workdir
from jaxgen.types import PyTree

DIVERGED = "diverged.json"


class Member:
    """The folder of one member, its records and its checkpoints."""

    def __init__(self, workdir: Workdir):
        self.path = workdir.path
        self.config = workdir.config
        self.history: list[dict[str, Any]] = []
        self._workdir = workdir
        self._saving = Saving(workdir.path / "checkpoints", Settings())
        self._root = jax.random.key(self.config["seed"])
        found = self.path / DIVERGED
        self.diverged: dict[str, Any] | None = None
        if found.is_file():
            self.diverged = json.loads(found.read_text())

    def key(self, purpose: str, index: int = 0) -> jax.Array:
        """As `Run.key`."""
        of_purpose = jax.random.fold_in(self._root, zlib.crc32(purpose.encode()))
        return jax.random.fold_in(of_purpose, index)

    def restore(self, template: PyTree, epoch: int | None = None) -> Progress | None:
        """The newest state, or that after an epoch."""
        return self._saving.restore(template, epoch)

    def begin(self, num_epochs: int) -> None:
        """Goes on after so many epochs; later records are removed."""
        self.history = self._workdir.begin(num_epochs)
        self._workdir.write_config()

    def finish(self, record: dict[str, Any], state: PyTree, seconds: float) -> None:
        """Records and saves an epoch, unless the member has diverged in it or before."""
        if self.diverged is not None:
            return
        broken = next((name for name, value in record.items() if not np.isfinite(value)), None)
        if broken is not None:
            self.diverged = {"epoch": record["epoch"], "metric": broken}
            with writing(self.path / DIVERGED) as temporary:
                temporary.write_text(json.dumps(self.diverged) + "\n")
            console.say(
                f"{printable(self.path.name)} has diverged: {broken} is not finite after epoch "
                f"{record['epoch']}; what was saved before is kept"
            )
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
