"""What a run says of its epochs: means, lines of text, events for TensorBoard, time compiling."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


def means_over_images(steps: dict[str, np.ndarray]) -> tuple[dict[str, float], int]:
    """Means over an epoch's images, and its number of steps."""
    weights = steps["num_images"]
    means = {
        name: float(np.average(values, weights=weights))
        for name, values in steps.items()
        if name != "num_images"
    }
    return means, len(weights)


def event_writer(folder: Path, done: int) -> "SummaryWriter":
    """A writer of events that makes TensorBoard forget what an earlier run wrote after `done`."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1, flush_secs=10)


def named(split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Metrics under the name of their split, losses first."""
    names = sorted(metrics, key=lambda name: (not name.endswith("loss"), name))
    return {f"{split}/{name}": metrics[name] for name in names}


def headline(record: dict[str, Any]) -> float:
    """The number that a progress bar shows: the first loss the system reports."""
    return next(value for name, value in record.items() if name.startswith("train/"))


def epoch_line(record: dict[str, Any], num_epochs: int, rate: float) -> str:
    """An epoch in one line, each metric with its held-out value beside it."""
    numbers = []
    for name, value in record.items():
        split, _, metric = name.partition("/")
        if split == "train":
            held_out = record.get(f"test/{metric}")
            beside = "" if held_out is None else f" (test {short(held_out)})"
            numbers.append(f"{metric} {short(value)}{beside}")
        elif split == "test" and f"train/{metric}" not in record:
            numbers.append(f"{metric} {short(value)}")
    return f"epoch {record['epoch']}/{num_epochs}: {', '.join(numbers)}; {rate:,.0f} images/s"


def short(value: float) -> str:
    """Two decimals, or three digits where those would be lost."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


class CompileSeconds:
    """Seconds that XLA has spent compiling since this was made."""

    def __init__(self) -> None:
        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self.total += duration_secs
