"""How a run reports its epochs: names of metrics, lines of text, seconds of compilation."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


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
