"""Part 3, second half: PyTorch's and jaxgen's layers, value and both gradients, in turns."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.accelerating import workers
from benchmarks.accelerating.target import WITH_PYTORCH
from benchmarks.accelerating.task import Task
from benchmarks.layers import ROWS, Measures, jax_measures, torch_measures

TURNS = 3


def measure(task: Task) -> None:
    """A row for each layer: milliseconds of "forward", "all" and for jaxgen "loop".

    Several processes compile jaxgen's layers, a share of the rows each; then one row after another
    is measured.
    """
    target = task.target
    rows = [5] if target.small else list(range(len(ROWS)))
    number = target.at_once
    workers_of = {f"jax {i}": rows[i::number] for i in range(number)}
    if target.platform in WITH_PYTORCH:
        workers_of["torch"] = rows
    pool = workers.Pool(str(Path(__file__).parents[1] / "accelerator.py"))
    try:
        for name in workers_of:
            words = {"kind": "layer", "side": name.split()[0], "device": target.platform}
            words |= {"threads": target.processors, "precision": target.matmul_precision()}
            pool.start(name, words, target.environment())
        orders = {name: {"call": "prepare", "with": [known]} for name, known in workers_of.items()}
        prepared = pool.ask_all(orders, 0.7 * task.left)
        for index in rows:
            names = [name for name, known in workers_of.items() if index in known]
            task.attempt(ROWS[index].name, lambda i=index, n=names: one(task, pool, n, i, prepared))
    finally:
        pool.close()


def one(
    task: Task, pool: workers.Pool, names: list[str], index: int, prepared: dict[str, Any]
) -> dict[str, Any]:
    """Medians of one layer, in turns; a side that failed is named with its reason."""
    found: dict[str, Any] = {}
    times: dict[tuple[str, str], list[float]] = {}
    for name in names:
        if isinstance(prepared[name], workers.Failed):
            found[name.split()[0]] = {"error": str(prepared[name])}
        else:
            times |= {(name, what): [] for what in prepared[name]}
    for _ in range(1 if task.target.small else TURNS):
        for (name, what), values in times.items():
            values.append(pool.ask(name, {"call": "measure", "with": [index, what]}))
    for (name, what), values in times.items():
        found.setdefault(name.split()[0], {})[what] = statistics.median(values)
    return found


class Layer:
    """The worker: one library's layers."""

    def __init__(self, words: dict[str, Any]):
        self.words = words
        self.measures: dict[int, Measures] = {}
        if words["side"] == "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", words["precision"])
        else:
            import torch

            torch.ones(1, device=words["device"])

    def __call__(self, order: dict[str, Any]) -> Any:
        """Answers {"call": method, "with": arguments}."""
        return getattr(self, order["call"])(*order["with"])

    def prepare(self, rows: list[int]) -> list[str]:
        """Compiles layers; what can be measured of each."""
        for index in rows:
            if self.words["side"] == "torch":
                device = self.words["device"]
                self.measures[index] = torch_measures(ROWS[index], self.words["threads"], device)
            else:
                self.measures[index] = jax_measures(ROWS[index], self.words["threads"])
        return sorted(self.measures[rows[0]])

    def measure(self, index: int, name: str) -> float:
        """Milliseconds."""
        return self.measures[index][name]()
