"""When the progress of a run is saved, and what is kept of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxgen import _checks
from jaxgen._files import printable
from jaxgen.errors import UserError
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.runs.training import Progress, first_broken, restored
from jaxgen.types import Dataset, PyTree

KEEP_BEST = "keep_best"  # in the record of a checkpoint: the metric that the best was chosen by


class Settings(NamedTuple):
    """How a run is saved and shown; may change whenever it resumes.

    Attributes:
      pictures: whether the run draws pictures.
      evaluate: whether it is evaluated when it is finished.
      checkpoint_every: save whenever the number of steps since the start of the run is a multiple
        of this, and after each epoch; None for the latter alone.
      keep: how many of the newest checkpoints are kept.
      keep_best: a metric of the validation split, such as "loss". The checkpoint of the epoch with
        its best value is kept besides, with its own optimizer state.
      devices: how many of JAX's devices share every batch; "all" for all.
    """

    pictures: bool = True
    evaluate: bool = False
    checkpoint_every: int | None = None
    keep: int = 2
    keep_best: str | None = None
    devices: int | Literal["all"] = 1

    def checked(self, dataset: Dataset) -> "Settings":
        """The same with "validation/" before `keep_best`.

        Raises:
          UserError: a number is out of range, or there is no validation split to judge by.
        """
        if self.checkpoint_every is not None:
            _checks.whole_number("--checkpoint-every", self.checkpoint_every)
        _checks.whole_number("--keep", self.keep)
        if self.keep_best is None:
            return self
        if "validation" not in dataset.splits:
            raise UserError(
                f"expected a validation split of {dataset.name} for --keep-best, found "
                f"{', '.join(sorted(dataset.splits))}: hold images out of the training images by "
                "--validation-fraction 0.1"
            )
        return self._replace(keep_best=f"validation/{self.keep_best.removeprefix('validation/')}")


class Saving:
    """The checkpoints of a run.

    Args:
      folder: of the checkpoints.
      settings: of the run.
    """

    def __init__(self, folder: Path, settings: Settings):
        self._keep_best = settings.keep_best
        self._checkpoints = Checkpoints(folder, settings.keep, keep_best=settings.keep_best)
        self._saved: int | None = None

    def restore(self, template: PyTree, step: int | None = None) -> Progress | None:
        """The newest progress that is saved, or that of a step."""
        if step is None:
            found = self._checkpoints.restore_latest(template)
        else:
            found = self._checkpoints.restore_step(step, template)
        if found is None:
            return None
        self._saved = found.step
        return restored(found.state, found.metadata)

    @property
    def last(self) -> int | None:
        """The step of the newest checkpoint; None without any."""
        return self._saved

    @property
    def oldest(self) -> int:
        """The step of the oldest checkpoint; 0 without any."""
        return min(self._checkpoints.steps(), default=0)

    def save(self, step: int, progress: Progress, record: Mapping[str, Any] | None = None) -> None:
        """Starts to save.

        Args:
          step: since the start of the run.
          progress: settled.
          record: the metrics of the epoch that ends with this step.
        """
        described = {**(record or {}), **progress.record()}
        if self._keep_best is not None:
            described[KEEP_BEST] = self._keep_best
        self._checkpoints.save(step, progress.state, described)
        self._saved = step

    def save_interrupted(self, step: int, progress: Progress) -> None:
        """Saves what was done since the newest checkpoint, unless it is not finite."""
        if progress.position and step != self._saved:
            settled = progress.settled()
            if first_broken(settled.steps) is None:
                self.save(step, settled)

    def close(self) -> None:
        """Waits for the last checkpoint."""
        self._checkpoints.close()


def broken_message(
    step: int, epoch: int, metric: str, value: float, last: int | None, folder: Path
) -> str:
    """What a run says that ends because a number is not finite any more."""
    kept = "nothing was saved" if last is None else f"the last good state is that of step {last}"
    return (
        f"{metric} became {value} in epoch {epoch}, step {step} of {printable(folder)}; {kept}: "
        "lower the learning rate (--learning-rate), or leave such updates out (--on-nonfinite skip)"
    )
