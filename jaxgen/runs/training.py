"""One epoch of training, in one piece or in stretches with a look at the state in between."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.types import Array, Learner, PyTree

Watch = Callable[[PyTree, int, dict[str, float]], None]


class TrainedEpoch(NamedTuple):
    """What an epoch gives.

    Attributes:
      state: after its last step.
      steps: the metrics of each step, [num_steps].
      seconds: of training alone.
    """

    state: PyTree
    steps: dict[str, np.ndarray]
    seconds: float

    @property
    def num_steps(self) -> int:
        """Steps in the epoch."""
        return len(self.steps["num_images"])


def whole_epoch(
    learner: Learner, state: PyTree, images: Array, key: Array, labels: Mapping[str, Any]
) -> TrainedEpoch:
    """An epoch in one piece. The state is donated."""
    start = time.perf_counter()
    state, steps = learner.epoch(state, images, key, **labels)
    host = {name: np.asarray(values, np.float64) for name, values in steps.items()}
    return TrainedEpoch(state, host, time.perf_counter() - start)


def epoch_in_stretches(
    learner: Learner,
    state: PyTree,
    images: Array,
    key: Array,
    labels: Mapping[str, Any],
    *,
    every: int,
    watch: Watch,
    steps_before: int,
) -> TrainedEpoch:
    """An epoch interrupted for `watch`, whose time does not count. The state is donated.

    Args:
      learner: the learner.
      state: its state.
      images: uint8 [N, H, W, C].
      key: of this epoch; the same for all its stretches, for it is what shuffles the images.
      labels: {"labels": [N]}, or {}.
      every: watch whenever the number of steps since the start of the run is a multiple of this.
      watch: called with (state, number of steps, means of the metrics since the last call or the
        start of the epoch).
      steps_before: steps of the earlier epochs.
    """
    stretches: list[dict[str, np.ndarray]] = []
    first, num_steps, seconds = 0, 1, 0.0
    while first < num_steps:
        stop = first + every - (steps_before + first) % every
        start = time.perf_counter()
        state, steps = learner.epoch(state, images, key, start=first, stop=stop, **labels)
        host = jax.device_get(steps)
        seconds += time.perf_counter() - start
        num_steps = len(host["num_images"])
        stretches.append({name: values[first:stop] for name, values in host.items()})
        if stop <= num_steps:
            watch(state, steps_before + stop, means_over_images(stretches[-1]))
        first = stop
    names = stretches[0]
    steps = {name: np.concatenate([part[name] for part in stretches]) for name in names}
    return TrainedEpoch(state, steps, seconds)


def means_over_images(steps: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of the metrics over the images, of which the last step may have had fewer."""
    weights = steps["num_images"]
    return {
        name: float(np.average(values, weights=weights))
        for name, values in steps.items()
        if name != "num_images"
    }
