"""PyTorch's other side of a population: processes of one thread that divide the seeds."""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.racing.course import Course
from benchmarks.racing.devices import Choice
from benchmarks.racing.torch_sides import Torch

SCRIPT = Path(__file__).parents[1] / "race.py"


class TorchSeeds:
    """Some seeds of one system in one process, one after another, each compiled."""

    def __init__(self, course: Course, choice: Choice, folder: Path, steps: int, population: int):
        self.members = [
            Torch("torch_compile", course, choice, folder, steps) for _ in range(population)
        ]

    def measure(self) -> float:
        """Seconds of one measurement of all seeds."""
        return sum(member.measure() for member in self.members)

    def last(self) -> dict[str, float]:
        """The newest loss of the last seed."""
        return self.members[-1].last()

    def memory(self) -> float:
        """Peak memory, MiB."""
        return self.members[-1].memory()


class TorchProcesses:
    """As many processes as there are threads, each with its share of the seeds.

    Args:
      threads: how many processes.
      arguments: of this worker; those of each process differ in the side and the number of seeds.
    """

    def __init__(self, threads: int, arguments: dict[str, Any]):
        shares = [
            arguments["population"] // threads + (i < arguments["population"] % threads)
            for i in range(threads)
        ]
        self.processes = [
            measuring.start(
                str(SCRIPT),
                *("--threads", "1", "--worker"),
                json.dumps(arguments | {"side": "torch_seeds", "population": share}),
            )
            for share in shares
            if share
        ]

    def measure(self) -> float:
        """Seconds until all processes are done."""
        start = time.perf_counter()
        self._ask("measure")
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """The newest loss of the first process."""
        return self._ask("last")[0]

    def memory(self) -> float:
        """Peak memory of all processes, MiB."""
        return sum(self._ask("memory"))

    def _ask(self, call: str) -> list[Any]:
        for process in self.processes:
            measuring.send(process, {"call": call})
        return [measuring.receive(process) for process in self.processes]
