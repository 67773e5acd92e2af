"""One run of a row: its commands, its processes, its record."""

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import measuring
from benchmarks.reproducing.rows import ANIMALS, JOINED, Row

ROOT = Path(__file__).parents[2]
TWIN = ROOT / "benchmarks" / "reproducing" / "twin.py"
CURVE_POINTS = 60
KILL_SECONDS = 20.0  # after SIGTERM


class Place(NamedTuple):
    """Where runs are made.

    Attributes:
      output: the folder of all runs.
      data_dir: where prepared data sets live; None for the default.
      animals: the folder of photographs; None where there is none.
      parallel: how many runs share the machine.
      num_epochs: train at most so many epochs, to try the command out; None for the published.
      num_examples: train on and evaluate so many images, likewise.
    """

    output: Path
    data_dir: Path | None
    animals: Path | None
    parallel: int
    num_epochs: int | None = None
    num_examples: int | None = None


class Deadline:
    """When training, and when everything stops, in seconds of `time.monotonic`."""

    def __init__(self, minutes: float | None, grace: float):
        now = time.monotonic()
        self.training = float("inf") if minutes is None else now + 60 * minutes
        self.everything = self.training + grace


def folder_of(place: Place, row: Row, seed: int) -> Path:
    """The folder of one run: record.json, log.txt, and the run's workdir."""
    return place.output / row.name / f"seed-{seed}"


def epochs_of(place: Place, row: Row) -> int:
    """How many epochs the run is to train."""
    return min(row.num_epochs, place.num_epochs or row.num_epochs)


def environment_of(place: Place, row: Row) -> dict[str, str]:
    """What the processes of a run are started with: their share of the machine, and precision."""
    threads = max(1, (os.cpu_count() or 1) // place.parallel)
    return {
        "JAX_DEFAULT_MATMUL_PRECISION": row.precision,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "OMP_NUM_THREADS": str(threads),
    }


def train_words(row: Row, num_epochs: int, seed: int) -> list[str]:
    """The command as a reader would type it, with the folders of this machine left out."""
    if row.twin:
        return ["python", "benchmarks/reproducing/twin.py", row.system, "--seed", str(seed)]
    words = ["jaxgen", "train", row.system, "--dataset", row.dataset]
    words += ["--num-epochs", str(num_epochs), "--seed", str(seed)]
    return [*words, *row.flags]


def _train_command(place: Place, row: Row, seed: int, workdir: Path) -> list[str]:
    num_epochs = epochs_of(place, row)
    data_dir = [] if place.data_dir is None else ["--data-dir", str(place.data_dir)]
    few = [] if place.num_examples is None else ["--num-examples", str(place.num_examples)]
    if row.twin:
        words = [sys.executable, str(TWIN), row.system, "--seed", str(seed)]
        return [*words, "--num-epochs", str(num_epochs), "--workdir", str(workdir), *data_dir, *few]
    words = train_words(row, num_epochs, seed)
    if row.dataset == ANIMALS:
        words[words.index(ANIMALS)] = f"{ANIMALS}{place.animals}"
    if row.dataset == JOINED:
        words[words.index(JOINED)] = f"npz:{_joined(place)}"
    folders = ["--workdir", str(workdir), *data_dir]
    return [sys.executable, "-m", "jaxgen", *words[1:], *folders, *few, "--no-pictures"]


def _joined(place: Place) -> Path:
    """The archive of the row that trains on all 60,000 images; made where it is missing."""
    path = place.output / JOINED.removeprefix("npz:")
    if not path.is_file():
        from jaxgen import data
        from jaxgen._files import replacing

        splits = data.load("binarized_mnist", place.data_dir).splits
        images = np.concatenate([splits[name].images for name in ("train", "validation")])
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, train_images=images, test_images=splits["test"].images)
    return path


def _evaluate_command(place: Place, row: Row, workdir: Path, num_samples: int | None) -> list[str]:
    few = [] if place.num_examples is None else ["--num-images", str(min(100, place.num_examples))]
    if row.twin:
        data_dir = [] if place.data_dir is None else ["--data-dir", str(place.data_dir)]
        words = [sys.executable, str(TWIN), row.system, "--judge", "--workdir", str(workdir)]
        return [*words, *data_dir, *few]
    samples = [] if num_samples is None else ["--num-samples", str(num_samples)]
    return [sys.executable, "-m", "jaxgen", "evaluate", str(workdir), *samples, *few]


def reproduce(place: Place, row: Row, seed: int, deadline: Deadline) -> str:
    """Trains and evaluates one run unless its record says that it is done.

    Returns:
      What became of it, in a few words.
    """
    folder = folder_of(place, row, seed)
    record_path = folder / "record.json"
    if record_path.is_file() and json.loads(record_path.read_text())["finished"]:
        return "done before"
    if time.monotonic() >= deadline.training:
        return "not begun: the time is over"
    folder.mkdir(parents=True, exist_ok=True)
    workdir = folder / "run"
    seconds = _read(folder / "seconds.json") or {"training": 0.0, "evaluation": 0.0}

    environment = environment_of(place, row)

    start = time.monotonic()
    code = _run(_train_command(place, row, seed, workdir), folder, environment, deadline.training)
    seconds["training"] += time.monotonic() - start
    measuring.write(folder / "seconds.json", seconds)
    if code is not None and code != 0:
        return f"training failed with exit code {code}: see {folder / 'log.txt'}"
    history = read_history(workdir)
    if not history:
        return "stopped before its first epoch"

    evaluations, start = {}, time.monotonic()
    for num_samples in row.num_samples or (None,):
        command = _evaluate_command(place, row, workdir, num_samples)
        if _run(command, folder, environment, deadline.everything) == 0:
            evaluations[str(num_samples or "default")] = _read(workdir / "evaluation.json")
    seconds["evaluation"] += time.monotonic() - start
    record = _record(place, row, seed, workdir, history, evaluations, seconds)
    measuring.write(record_path, record)
    measuring.write(folder / "seconds.json", seconds)
    share = f"{history[-1]['epoch']} of {row.num_epochs} epochs"
    return f"{share}, {len(evaluations)} evaluations, {sum(seconds.values()):.0f} s"


def _record(
    place: Place,
    row: Row,
    seed: int,
    workdir: Path,
    history: list[dict[str, Any]],
    evaluations: dict[str, Any],
    seconds: dict[str, float],
) -> dict[str, Any]:
    config = _read(workdir / "config.json") or {}
    config.pop("data_dir", None)
    if str(config.get("dataset", "")).startswith(ANIMALS):
        config["dataset"] = "folder"
    if str(config.get("dataset", "")).startswith("npz:"):
        config["dataset"] = row.dataset
    for evaluation in evaluations.values():
        evaluation["dataset"] = config.get("dataset", evaluation["dataset"])
    epochs = history[-1]["epoch"]
    return {
        "row": row.name,
        "seed": seed,
        "command": " ".join(train_words(row, row.num_epochs, seed)),
        "finished": epochs == row.num_epochs and len(evaluations) == len(row.num_samples or (1,)),
        "epochs": epochs,
        "share": epochs / row.num_epochs,
        "tried_out": place.num_epochs is not None or place.num_examples is not None,
        "config": config,
        "metrics": history[-1],
        "curve": _thinned(history),
        "evaluations": evaluations,
        "seconds": {
            "epochs": round(sum(entry["seconds"] for entry in history), 2),
            "training": round(seconds["training"], 3),
            "evaluation": round(seconds["evaluation"], 3),
        },
        "machine": {
            "processor": measuring.processor(),
            "cores": os.cpu_count(),
            "accelerator": measuring.accelerator(),
            "runs_at_once": place.parallel,
            "python": platform.python_version(),
        },
        "environment": environment_of(place, row),
    }


def _thinned(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Epoch, seconds and losses of at most CURVE_POINTS epochs, the last among them."""
    every = -(-len(history) // CURVE_POINTS)
    kept = [entry for entry in history if entry["epoch"] % every == 0]
    kept = kept if kept and kept[-1] is history[-1] else [*kept, history[-1]]
    names = ("epoch", "seconds", "train/loss", "test/loss", "train/wasserstein", "test/diversity")
    return [{name: entry[name] for name in names if name in entry} for entry in kept]


def read_history(workdir: Path) -> list[dict[str, Any]]:
    """One record for each epoch; [] before the first."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


_running: set[subprocess.Popen] = set()
_stopping = threading.Event()


def stop_all() -> None:
    """Asks every process to stop; what they trained resumes with the same command."""
    _stopping.set()
    for process in list(_running):
        process.terminate()


def _run(
    command: list[str], folder: Path, environment: dict[str, str], deadline: float
) -> int | None:
    """Runs a process until it ends or the deadline stops it: its exit code, None if stopped."""
    left = deadline - time.monotonic()
    if left <= 0 or _stopping.is_set():
        return None
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        _running.add(process)
        try:
            return _outcome(process.wait(None if left == float("inf") else left))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(KILL_SECONDS)
            process.kill()
            process.wait()
            return None
        finally:
            _running.discard(process)


def _outcome(code: int) -> int | None:
    return None if code in (128 + signal.SIGTERM, -signal.SIGTERM) else code
