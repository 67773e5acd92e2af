"""Shared by the benchmarks: worker processes measured in turns, the machine, results on disk.

A side (PyTorch, jaxgen) lives in a process of its own: in one process their thread pools would
spin beside one another. A worker reads one JSON order a line and answers with one JSON line.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAUSE = 0.25  # seconds between turns: PyTorch's threads spin for up to 0.2 s after their work


# ---- workers


def start(
    script: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """A script in a separate process that reads from standard input what to measure."""
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def ask(process: subprocess.Popen, order: dict) -> Any:
    """Sends one request and returns its answer."""
    send(process, order)
    return receive(process)


def send(process: subprocess.Popen, order: dict) -> None:
    """Sends one request."""
    assert process.stdin
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()


def receive(process: subprocess.Popen) -> Any:
    """The answer to the oldest request that has none yet."""
    assert process.stdout
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit("a worker stopped: see its message above")
    return json.loads(answer)


def serve(answer: Callable[[dict], Any]) -> None:
    """The worker's end of `ask`: answers requests until there are no more."""
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):  # messages of data sets are no answers
            answered = answer(json.loads(line))
        print(json.dumps(answered), flush=True)


# ---- the machine


def pin(threads: int) -> None:
    """Keeps this process, and those it starts, on the first processors it may run on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def processor() -> str:
    """The processor according to the system, with the number of its model where there is one.

    Clouds give one name to many processors.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    names = re.findall(r"model name\s*:\s*(.+)", text)
    if not names:
        return platform.processor() or platform.machine()
    models = re.findall(r"model\s*:\s*(\d+)", text)
    return f"{names[0].strip()}, model {models[0]}" if models else names[0].strip()


def vectors() -> str:
    """The widest vector instructions of an x86 processor."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    return next((name for name in ("avx512f", "avx2", "avx") if name in flags), "unknown")


def accelerator() -> str | None:
    """The name of the GPU according to its driver, or None."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else None


def machine(threads: int) -> dict[str, Any]:
    """The description of this machine in a results file."""
    return {
        "processor": processor(),
        "vectors": vectors(),
        "threads": threads,
        "system": platform.system(),
    }


def versions(packages: Iterable[str] = ("jax", "jaxlib", "torch")) -> dict[str, str]:
    """Versions of the packages that were measured."""
    return {name: importlib.metadata.version(name) for name in packages}


# ---- results


def results_path(benchmark: str, device: str, threads: int) -> Path:
    """The file that holds the results of a benchmark on a machine."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return RESULTS / f"{benchmark}_{slug}_{threads}-threads.json"


def write(path: Path, result: Any) -> None:
    """Writes a results file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, path)


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Their time over ours, turn by turn: above 1, ours is faster."""
    return [t / o for t, o in zip(theirs, ours, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
