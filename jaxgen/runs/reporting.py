"""How a run reports its epochs: names of metrics, lines of text, seconds of compilation."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
PARTS = ("reconstruction", "kl")  # of a loss
OF_SAMPLES = ("diversity",)  # what the test metrics of a GAN say of its samples


def named(split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Metrics under the name of their split, losses first."""
    names = sorted(metrics, key=lambda name: (not name.endswith("loss"), name))
    return {f"{split}/{name}": metrics[name] for name in names}


def headline(record: dict[str, Any]) -> float:
    """The number that a progress bar shows: the first loss the system reports."""
    return next(value for name, value in record.items() if name.startswith("train/"))


def epoch_line(record: Mapping[str, Any], num_epochs: int, rate: float) -> str:
    """An epoch in one short line: the loss with its held-out value, its parts, the speed.

    metrics.jsonl has the other metrics. Of a learner that reports no loss, all are shown.
    """
    train, test = of_split(record, "train"), of_split(record, "test")
    losses = [name for name in train if name.endswith("loss")]
    if losses:
        parts = [*losses[1:], *(name for name in PARTS if name in train)]
        numbers = [_beside(losses[0], train, test)]
        numbers += [f"{name} {short(train[name])}" for name in parts]
        numbers += [f"{name} {short(test[name])}" for name in OF_SAMPLES if name in test]
    else:
        numbers = [_beside(name, train, test) for name in train]
    return f"epoch {record['epoch']}/{num_epochs}: {', '.join(numbers)}; {rate:,.0f} images/s"


def of_split(record: Mapping[str, Any], split: str) -> dict[str, float]:
    """The metrics of a split in the record of an epoch: {"loss": ...} of {"train/loss": ...}."""
    prefix = f"{split}/"
    return {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix)
    }


def _beside(name: str, train: Mapping[str, float], test: Mapping[str, float]) -> str:
    held_out = f" (test {short(test[name])})" if name in test else ""
    return f"{name} {short(train[name])}{held_out}"


def short(value: float) -> str:
    """Two decimals, or three digits where those would be lost."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def summary(
    history: Sequence[Mapping[str, Any]], total_seconds: float, compile_seconds: float
) -> dict[str, Any]:
    """The last metrics of a run, its timings, and the median of its steps per second."""
    last = history[-1]
    # The first epoch of a process compiles.
    steady = [record["seconds"] for record in history[1:]] or [last["seconds"]]
    return {
        **{name: value for name, value in last.items() if name != "seconds"},
        "total_seconds": round(total_seconds, 2),
        "compile_seconds": round(compile_seconds, 2),
        "steps_per_second": round(last["step"] // last["epoch"] / float(np.median(steady)), 2),
    }


class CompileSeconds:
    """Seconds that XLA has spent compiling since this was made."""

    def __init__(self) -> None:
        self.total = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self.total += duration_secs
