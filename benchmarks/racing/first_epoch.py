"""From the start of a process to the end of its first epoch: imports, data, compiling, training."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import ask
from benchmarks.racing.course import Course
from benchmarks.racing.turns import Race, finish

ROOT = Path(__file__).parents[2]
# Whether a side compiles, and so has a start with nothing kept and one with what that has left.
SIDES = {"torch_loader": False, "torch_eager": False, "torch_compile": True, "jaxgen_epoch": True}
SCRIPT = "jaxgen_script"


def first_epoch(the: Race, course: Course) -> dict[str, Any]:
    """Fresh processes in turns; "cold" starts have compiled nothing before, "kept" ones have.

    The sides read their images from plain files of arrays. `jaxgen_script` is the experiment as
    users run it: command line, verified cache of decoded data, held-out loss, until its first line
    of numbers.
    """
    facts = the.prepare(course)
    steps = course.epoch_steps(facts["num_images"])
    kept = Path(tempfile.mkdtemp(dir=the.folder))
    arguments = ["--data-dir", the.options.data_dir] if the.options.data_dir else []

    def side_seconds(side: str, folder: Path) -> float:
        start = time.perf_counter()
        worker = the.start(side, course, compiled_in(folder), steps=steps)
        ask(worker, {"call": "measure"})
        seconds = time.perf_counter() - start
        finish({side: worker})
        return seconds

    def script_seconds(folder: Path) -> float:
        workdir = tempfile.mkdtemp(dir=the.folder)
        script = str(ROOT / "experiments" / f"{course.name}.py")
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, script, "--workdir", workdir, "--num-epochs", "1", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": ""} | compiled_in(folder),
        )
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch 1/"):
                break
        else:
            raise SystemExit(f"{script} ended without an epoch: see its message above")
        seconds = time.perf_counter() - start
        process.communicate()
        return seconds

    def seconds_of(side: str, folder: Path) -> float:
        time.sleep(measuring.PAUSE)
        return script_seconds(folder) if side == SCRIPT else side_seconds(side, folder)

    times: dict[str, list[float]] = {}
    for _ in range(the.options.repeats):
        for side, compiles in (SIDES | {SCRIPT: True}).items():
            cold = Path(tempfile.mkdtemp(dir=the.folder))
            times.setdefault(f"{side}_cold", []).append(seconds_of(side, cold))
            if compiles:
                if not any(kept.glob(f"{side}*")):
                    cold.rename(kept / side)
                times.setdefault(f"{side}_kept", []).append(seconds_of(side, kept / side))
    return {"versions": measuring.versions(), "dataset": facts["dataset"], "seconds": times}


def compiled_in(folder: Path) -> dict[str, str]:
    """Where a process keeps and finds compiled programs."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
