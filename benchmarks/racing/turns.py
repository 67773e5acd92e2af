"""The race: workers that start from the same state and are measured in turns."""

import argparse
import importlib.util
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import ask
from benchmarks.racing import devices
from benchmarks.racing.agreement import CHECK_STEPS, disagreement
from benchmarks.racing.course import Course

SCRIPT = Path(__file__).parents[1] / "race.py"
TORCH_SIDES = ("torch_loader", "torch_eager", "torch_compile")
JAXGEN_SIDES = ("jaxgen_step", "jaxgen_epoch")
CHECKED_SIDES = ("torch_loader", "torch_eager")  # the compiled one compiles the same function
POPULATION_SIDES = ("torch_vmap", "torch_vmap_compile", "jaxgen_vmap")
CPU_POPULATION_SIDES = (*POPULATION_SIDES, "torch_processes", "jaxgen_devices")
HELD_OUT_SIDES = ("torch_eager", "torch_compile", "jaxgen_epoch")
MOST_EPOCHS = 60  # to the held-out loss
SHORT = 1.0  # seconds
Workers = dict[str, subprocess.Popen]


class Race:
    """The arguments that all workers of a race share."""

    def __init__(self, options: argparse.Namespace, choice: devices.Choice, folder: Path):
        self.options, self.choice, self.folder = options, choice, folder

    def start(
        self,
        side: str,
        course: Course,
        environment: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> subprocess.Popen:
        """A worker with its own compilation cache, unless the environment names one."""
        known = {
            "side": side,
            "course": course.name,
            "choice": self.choice._asdict(),
            "folder": str(self.folder),
        }
        own = {"TORCHINDUCTOR_CACHE_DIR": tempfile.mkdtemp(dir=self.folder)}
        return measuring.start(
            str(SCRIPT),
            "--threads",
            str(self.options.threads),
            "--worker",
            json.dumps(known | arguments),
            environment=devices.environment(self.choice) | own | dict(environment or {}),
        )

    def prepare(self, course: Course) -> dict[str, Any]:
        """Images and weights for the workers, and the losses they must agree with."""
        data = {"data_dir": self.options.data_dir, "animals": self.options.animals}
        worker = self.start("prepare", course, **data)
        facts = ask(worker, {})
        finish({"prepare": worker})
        return facts


def finish(workers: Workers) -> None:
    """Lets workers end."""
    for process in workers.values():
        process.communicate()


def warm_up(workers: Workers) -> tuple[dict[str, float], bool]:
    """How much longer each side's first stretch took than its second, in seconds: compiling.

    And whether stretches are so short that a start with idle processors and cold caches colours
    them.
    """
    extra, short = {}, False
    for side, worker in workers.items():
        time.sleep(measuring.PAUSE)
        first, second = (ask(worker, {"call": "measure"}) for _ in range(2))
        extra[side] = max(first - second, 0.0)
        short |= second < SHORT
    return extra, short


def in_turns(workers: Workers, repeats: int, short: bool) -> dict[str, list[float]]:
    """Seconds of every side's stretches, each turn beginning with another side.

    Where they are short, each follows another that does not count.
    """
    names, times = list(workers), {side: [] for side in workers}
    for turn in range(repeats):
        first = turn % len(names)
        for side in names[first:] + names[:first]:
            time.sleep(measuring.PAUSE)
            if short:
                ask(workers[side], {"call": "measure"})
            times[side].append(ask(workers[side], {"call": "measure"}))
    return times


def check(course: Course, workers: Workers, facts: dict[str, Any], precision: str) -> None:
    """The same number of parameters, and the same first losses."""
    for side, worker in workers.items():
        found = ask(worker, {"call": "facts"})["parameters"]
        if found != facts["parameters"]:
            raise SystemExit(f"{course.name}: {found} parameters in {side}, {facts['parameters']}")
        if side in CHECKED_SIDES:
            losses = ask(worker, {"call": "losses", "with": [CHECK_STEPS]})
            if problems := disagreement(facts["losses"], losses, precision):
                raise SystemExit(f"{course.name}, {side} starts otherwise: {'; '.join(problems)}")


def to_held_out(course: Course, worker: subprocess.Popen) -> dict[str, Any]:
    """Training seconds in whole epochs, without evaluation, until the held-out loss is reached."""
    ask(worker, {"call": "restart"})
    assert course.held_out
    seconds, loss = 0.0, float("inf")
    for epochs in range(1, MOST_EPOCHS + 1):
        seconds += ask(worker, {"call": "measure"})
        loss = ask(worker, {"call": "held_out"})
        if loss <= course.held_out:
            return {"seconds": seconds, "epochs": epochs, "loss": loss}
    return {"seconds": None, "epochs": MOST_EPOCHS, "loss": loss}


def race(the: Race, course: Course) -> dict[str, Any]:
    """One system, all sides."""
    facts = the.prepare(course)
    epoch_steps = course.epoch_steps(facts["num_images"])
    quick = the.options.quick
    steps = min(epoch_steps, (course.quick_steps if quick else course.steps) or epoch_steps)
    wanted = course.peers if the.choice.precision == "float32" else ()
    peers = tuple(peer for peer in wanted if importlib.util.find_spec(peer))
    sides = TORCH_SIDES + JAXGEN_SIDES + peers
    workers = {side: the.start(side, course, steps=steps) for side in sides}
    check(course, workers, facts, the.choice.precision)
    print(f"{course.name}: {facts['parameters']:,} parameters, the losses agree", flush=True)
    compiling, short = warm_up(workers)
    times = in_turns(workers, the.options.repeats, short)
    rows = {
        side: {
            "seconds": times[side],
            "compile_seconds": compiling[side],
            "peak_mib": ask(worker, {"call": "memory"}),
            "last": ask(worker, {"call": "last"}),
        }
        for side, worker in workers.items()
    }
    if course.held_out and steps == epoch_steps and not quick:
        for side in HELD_OUT_SIDES + peers:
            rows[side]["to_held_out"] = to_held_out(course, workers[side])
    result = {
        "versions": measuring.versions() | measuring.versions(peers),
        "settings": the.choice._asdict(),
        "dataset": facts["dataset"],
        "fingerprint": facts["fingerprint"],
        "parameters": facts["parameters"],
        "batch_size": course.batch_size,
        "images_per_step": course.images_per_step,
        "steps": steps,
        "epoch_steps": epoch_steps,
        "held_out": course.held_out,
        "flops_per_step": ask(workers["torch_eager"], {"call": "flops"}),
        "peak_flops": {
            side: ask(workers[side], {"call": "peak"}) for side in ("torch_eager", "jaxgen_epoch")
        },
        "first_losses": facts["losses"],
        "sides": rows,
    }
    finish(workers)
    return result


def population(the: Race, course: Course) -> dict[str, Any]:
    """Many seeds of one system at once: throughput of all of them together."""
    facts = the.prepare(course)
    steps, number = the.options.population_steps, the.options.population
    sides = CPU_POPULATION_SIDES if the.choice.device == "cpu" else POPULATION_SIDES
    workers = {side: the.start(side, course, steps=steps, population=number) for side in sides}
    compiling, short = warm_up(workers)
    times = in_turns(workers, the.options.repeats, short)
    rows = {
        side: {
            "seconds": times[side],
            "compile_seconds": compiling[side],
            "peak_mib": ask(worker, {"call": "memory"}),
            "last": ask(worker, {"call": "last"}),
        }
        for side, worker in workers.items()
    }
    finish(workers)
    return {
        "versions": measuring.versions(),
        "settings": the.choice._asdict(),
        "dataset": facts["dataset"],
        "population": number,
        "batch_size": course.batch_size,
        "steps": steps,
        "sides": rows,
    }
