"""Part 3, second half: PyTorch's and jaxgen's layers, value and both gradients, in turns."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.accelerating import workers
from benchmarks.accelerating.target import WITH_PYTORCH
from benchmarks.accelerating.task import Task
from benchmarks.layers import ROWS, jax_measures, torch_measures

TURNS = 3


def measure(task: Task) -> None:
    """A row for each layer: milliseconds of "forward", "all" and for jaxgen "loop"."""
    target = task.target
    pool = workers.Pool(str(Path(__file__).parents[1] / "accelerator.py"))
    sides = ("torch", "jax") if target.platform in WITH_PYTORCH else ("jax",)
    try:
        for side in sides:
            words = {"kind": "layer", "side": side, "device": target.platform}
            words |= {"threads": target.processors, "precision": target.matmul_precision()}
            pool.start(side, words, target.environment())
        for row in ROWS[5:6] if target.small else ROWS:
            task.attempt(row.name, lambda row=row: one(task, pool, sides, ROWS.index(row)))
    finally:
        pool.close()


def one(task: Task, pool: workers.Pool, sides: tuple[str, ...], index: int) -> dict[str, Any]:
    """Medians of one layer; a side that fails is left out."""
    orders = {side: {"call": "row", "with": [index]} for side in sides}
    names = pool.ask_all(orders, max(1.0, min(30.0, task.left - 1)))
    found: dict[str, Any] = {}
    for side in sides:
        if isinstance(names[side], workers.Failed):
            found[side] = {"error": str(names[side])}
            continue
        times: dict[str, list[float]] = {name: [] for name in names[side]}
        for _ in range(1 if task.target.small else TURNS):
            for name in times:
                times[name].append(pool.ask(side, {"call": "measure", "with": [name]}))
        found[side] = {name: statistics.median(values) for name, values in times.items()}
    return found


class Layer:
    """The worker: one library's layers."""

    def __init__(self, words: dict[str, Any]):
        self.words, self.measures = words, {}
        if words["side"] == "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", words["precision"])
        else:
            import torch

            torch.ones(1, device=words["device"])

    def __call__(self, order: dict[str, Any]) -> Any:
        """Answers {"call": method, "with": arguments}."""
        return getattr(self, order["call"])(*order["with"])

    def row(self, index: int) -> list[str]:
        """Prepares a layer; what can be measured of it."""
        if self.words["side"] == "torch":
            device = self.words["device"]
            self.measures = torch_measures(ROWS[index], self.words["threads"], device)
        else:
            self.measures = jax_measures(ROWS[index], self.words["threads"])
        return sorted(self.measures)

    def measure(self, name: str) -> float:
        """Milliseconds."""
        return self.measures[name]()
