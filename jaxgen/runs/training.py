"""An epoch in stretches: between two of them a run looks at the state, saves it, can be stopped.

A stretch is one call of `learner.epoch` with `start` and `stop`. All stretches are one compiled
program, and give the same bits as an epoch in one piece.
"""

import atexit
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen._process import exit_now
from jaxgen.errors import UserError
from jaxgen.types import SKIPPED, Array, PyTree

Watch = Callable[[PyTree, int, dict[str, float]], None]

STRETCH_SECONDS = 3.0  # after a signal a run waits for the end of a stretch
FIRST_STEPS = 16  # of a stretch whose speed is not yet known
GROWTH = 16  # of a stretch over the one before, at most
POLL_SECONDS = 0.001


class Progress(NamedTuple):
    """Everything that a run needs in order to continue.

    Attributes:
      state: the learner's.
      epoch: how many epochs are finished: trained, evaluated and recorded.
      steps: metrics of the steps done since, float64 [position] each.
      seconds: of the run so far, over all its processes.
      epoch_seconds: of training since the last finished epoch.
      pending: metrics of the newest stretch, which may not be computed yet: (start, stop, what
        `learner.epoch` gave).
    """

    state: PyTree
    epoch: int = 0
    steps: Mapping[str, np.ndarray] = {}
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    pending: tuple[int, int, Mapping[str, Array]] | None = None

    @property
    def position(self) -> int:
        """How many steps of the next epoch are done."""
        if self.pending is not None:
            return self.pending[1]
        return len(self.steps["num_images"]) if self.steps else 0

    def settled(self) -> "Progress":
        """The same with nothing pending; waits for what is."""
        if self.pending is None:
            return self
        start, stop, found = self.pending
        new = {
            name: np.asarray(values, np.float64)[start:stop]
            for name, values in jax.device_get(dict(found)).items()
        }
        steps = {
            name: np.concatenate([self.steps[name], values]) if self.steps else values
            for name, values in new.items()
        }
        return self._replace(steps=steps, pending=None)

    def record(self) -> dict[str, Any]:
        """All but the state, as JSON can hold it."""
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "epoch_seconds": self.epoch_seconds,
            "steps": {name: values.tolist() for name, values in self.steps.items()},
        }


def restored(state: PyTree, record: Mapping[str, Any]) -> Progress:
    """What `Progress.record` described."""
    steps = {name: np.array(values, np.float64) for name, values in record.get("steps", {}).items()}
    return Progress(
        state, record["epoch"], steps, record["seconds"], record.get("epoch_seconds", 0.0)
    )


class Pace:
    """How many steps a stretch may have, so that it takes about STRETCH_SECONDS."""

    def __init__(self) -> None:
        self.steps = FIRST_STEPS
        self._compiled = False

    def measured(self, num_steps: int, seconds: float) -> None:
        """Learns from a stretch; the first one compiles, and says nothing."""
        if self._compiled:
            ideal = int(num_steps * STRETCH_SECONDS / max(seconds, 1e-6))
            self.steps = max(1, min(ideal, GROWTH * self.steps))
        self._compiled = True


def next_stop(
    position: int, num_steps: int, most: int, steps_before: int, everies: Sequence[int]
) -> int:
    """Where a stretch from `position` ends.

    Args:
      position: steps of this epoch that are done.
      num_steps: of the epoch.
      most: steps of the stretch.
      steps_before: of earlier epochs.
      everies: the stretch goes no further than the next multiple of each of these, counted from
        the start of the run.
    """
    done = steps_before + position
    multiples = (position + every - done % every for every in everies)
    return min(position + most, num_steps, *multiples)


def wait_until_ready(arrays: PyTree) -> None:
    """Waits for a computation in such a way that signals are heard meanwhile."""
    leaves: list[Any] = [x for x in jax.tree.leaves(arrays) if isinstance(x, jax.Array)]
    try:
        while not all(leaf.is_ready() for leaf in leaves):
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt as interrupt:
        atexit.register(_leave_while_computing, leaves, getattr(interrupt, "code", 130))
        raise


def _leave_while_computing(arrays: list[Any], code: int) -> None:
    """Ends the process at once where XLA still computes, or it crashes while it is torn down."""
    if not all(array.is_ready() for array in arrays):
        exit_now(code)


def means_over_images(steps: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of the metrics over the images, of which the last step may have had fewer.

    Steps whose update was left out do not count; `skipped` is their number.

    Raises:
      UserError: all updates were left out.
    """
    counted = steps["num_images"] > 0
    if not counted.any():
        raise UserError(
            "expected a finite loss in one step at least, got none: lower the learning rate "
            "(--learning-rate)"
        )
    weights = steps["num_images"][counted]
    means = {
        name: float(np.average(values[counted], weights=weights))
        for name, values in steps.items()
        if name not in ("num_images", SKIPPED)
    }
    if SKIPPED in steps:
        means[SKIPPED] = float(steps[SKIPPED].sum())
    return means


def first_broken(steps: Mapping[str, np.ndarray]) -> tuple[int, str, float] | None:
    """(step, metric, value) of the first step with a metric that is not finite; None without.

    A step whose update was left out is not broken.
    """
    names = [name for name in steps if name not in ("num_images", SKIPPED)]
    names.sort(key=lambda name: not name.endswith("loss"))
    if not names:
        return None
    bad = ~np.isfinite(np.stack([steps[name] for name in names])) & (steps["num_images"] > 0)
    if not bad.any():
        return None
    step = int(bad.any(axis=0).argmax())
    name = names[int(bad[:, step].argmax())]
    return step, name, float(steps[name][step])
