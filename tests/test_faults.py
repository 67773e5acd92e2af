"""Faults of the machine: killed processes, damaged files, full disks; and what a long run takes.

A fifth of the cases is marked slow; `pytest -m 'slow or nightly'` runs them all.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from marks import a_fifth_slow, slow_and_nightly
from test_runs import kept

from jaxgen import data, runs, systems
from jaxgen.errors import UserError
from jaxgen.runs.saving import Saving

SAVE_EVERY = 3
NUM_EPOCHS = 12  # of 5 steps
SYSTEMS = {
    "vae_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 8 --kl-schedule linear "
    "--kl-schedule-steps 40 --binarization dynamic",
    "vae_batchnorm_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 8 --kl-schedule cyclical "
    "--kl-schedule-steps 20",
    "dcgan_mnist": "--generator-features 4 3 2 2 --critic-features 2 3 --batch-size 8 "
    "--ema-decay 0.9",
    "wgan_mnist": "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4 "
    "--num-critic-steps 2 --ema-decay 0.9",
}

# A run that says each step that it has done, and looks at a GAN every second step.
TRAIN = """
import sys
from jaxgen import runs, systems
system, num_epochs, *words = sys.argv[1:]

def main():
    with runs.start(getattr(systems, system), num_epochs=int(num_epochs), args=words) as run:
        drawing = runs.standard_pictures(run)
        if drawing.watch is not None:
            drawing.every = 2
        def watch(state, step, means):
            print("step", step, flush=True)
            if drawing.watch is not None and step % 2 == 0:
                drawing.watch(state, step, means)
        for state in run.epochs(1, watch):
            drawing.draw_epoch(state)
        drawing.draw_run()

runs.command(main)
"""


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
      code: its exit status; negative for a signal.
      steps: those that it said it had done.
      errors: what it wrote to standard error.
    """

    code: int
    steps: list[int]
    errors: str


class Trainer:
    """Trains one system in processes of its own, all with one cache of compiled programs.

    Args:
      system: its name, one of SYSTEMS.
      dataset: as --dataset takes it.
      cache: the folder of the cache.
    """

    def __init__(self, system: str, dataset: str, cache: Path):
        self.environment = os.environ | {"JAXGEN_CACHE_DIR": str(cache)}
        self.words = [system, str(NUM_EPOCHS), "--dataset", dataset]
        self.words += [*SYSTEMS[system].split(), "--checkpoint-every", str(SAVE_EVERY)]

    def start(
        self, workdir: Path, limit: int | None = None, before: str = ""
    ) -> subprocess.Popen[str]:
        """A process that runs the code `before`, and trains.

        No file of it can grow beyond `limit` KiB.
        """
        command = [sys.executable, "-c", before + TRAIN, *self.words, "--workdir", str(workdir)]
        if limit is not None:
            command = ["bash", "-c", 'ulimit -f "$0" && exec "$@"', str(limit), *command]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def finish(self, workdir: Path, limit: int | None = None) -> Ended:
        """Trains to the end."""
        process = self.start(workdir, limit)
        out, errors = process.communicate(timeout=300)
        return Ended(process.returncode, steps_in(out), errors)


def steps_in(text: str) -> list[int]:
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("step ")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=SYSTEMS)
def trainer(request, idx_folder, large_idx_folder, cache) -> Trainer:
    folder = large_idx_folder if request.param == "dcgan_mnist" else idx_folder
    return Trainer(request.param, f"idx:{folder}", cache)


def state_of(workdir: Path) -> list[bytes]:
    state = runs.load(workdir).state
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def assert_same(workdir: Path, straight: Path) -> None:
    """Weights, optimizer, statistics, metrics, events and pictures are the same to the bit."""
    assert state_of(workdir) == state_of(straight)
    records, events, pictures = kept(workdir)
    other_records, other_events, other_pictures = kept(straight)
    assert records == other_records
    assert events == other_events
    assert pictures.keys() == other_pictures.keys()
    assert [name for name in pictures if pictures[name] != other_pictures[name]] == []


def killed_at_random(process: subprocess.Popen[str], draw: random.Random) -> Ended:
    """Lets a process go on for a random time, and kills it.

    One of five is killed while it starts, the others some steps later, at any moment of a step.
    """
    lines: list[str] = []
    assert process.stdout is not None
    if draw.random() < 0.2:
        time.sleep(draw.uniform(0.0, 3.0))
    else:
        wanted = draw.randint(1, 2 * SAVE_EVERY)
        while len(steps_in("".join(lines))) < wanted and (line := process.stdout.readline()):
            lines.append(line)
        time.sleep(draw.uniform(0.0, 0.02))
    process.kill()
    rest, errors = process.communicate(timeout=60)
    return Ended(process.returncode, steps_in("".join(lines) + rest), errors)


@pytest.mark.parametrize("kills", slow_and_nightly(3, 13))
def test_sigkill_at_any_instant_changes_nothing(trainer, kills, tmp_path):
    straight = trainer.finish(tmp_path / "straight")
    assert straight.code == 0, straight.errors
    assert straight.steps == list(range(1, 5 * NUM_EPOCHS + 1))
    draw = random.Random(f"{trainer.words[0]} {kills}")
    done, number, lost = 0, 0, []
    while number < kills:
        ended = killed_at_random(trainer.start(tmp_path / "run"), draw)
        assert ended.errors == ""
        if ended.code == 0:  # it was faster than its killer
            shutil.rmtree(tmp_path / "run")
            done = 0
            continue
        assert ended.code == -signal.SIGKILL
        number += 1
        if ended.steps:
            # The first step printed is the restored one if it is drawn again, else the next one.
            lost.append(max(0, done - ended.steps[0]))
            done = ended.steps[-1]
    last = trainer.finish(tmp_path / "run")
    assert last.code == 0, last.errors
    assert "damaged" not in last.errors
    # The save that was under way may be lost, and what came after the one before it.
    assert max(lost, default=0) <= 2 * SAVE_EVERY - 1
    assert_same(tmp_path / "run", tmp_path / "straight")
    print(f"{number} kills, steps done again: {lost}")


@pytest.fixture(scope="module")
def finished(idx_folder, cache, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    ended = Trainer("vae_mnist", f"idx:{idx_folder}", cache).finish(workdir)
    assert ended.code == 0, ended.errors
    return workdir


LIMITS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]  # KiB


@pytest.mark.parametrize("case", a_fifth_slow(LIMITS))
def test_a_full_disk_ends_with_one_line_and_loses_nothing(
    case, finished, idx_folder, cache, tmp_path
):
    """No file can grow beyond a size: whichever write fails, the run ends, and can be resumed."""
    trainer = Trainer("vae_mnist", f"idx:{idx_folder}", cache)
    ended = trainer.finish(tmp_path / "run", case)
    if ended.code:
        assert ended.code == 2, ended.errors
        last = ended.errors.strip().splitlines()[-1]
        assert "File too large" in last, ended.errors
        assert "Traceback" not in ended.errors
    assert ended.code or case >= 16
    again = trainer.finish(tmp_path / "run")
    assert again.code == 0, again.errors
    if ended.steps:
        # What was saved before the failed write is used.
        assert again.steps[:1] == [] or again.steps[0] <= ended.steps[-1] + 1
    assert_same(tmp_path / "run", finished)


def damage(path: Path, draw: random.Random) -> str:
    """Flips a bit, cuts, extends or deletes a file."""
    content = bytearray(path.read_bytes())
    kind = draw.choice(["flip", "flip", "cut", "extend", "delete"])
    if kind == "delete":
        path.unlink()
        return kind
    if kind == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del content[draw.randrange(len(content)) :]
    else:
        content += draw.randbytes(draw.randint(1, 100))
    path.write_bytes(content)
    return kind


@pytest.mark.parametrize("count", slow_and_nightly(20, 100))
def test_every_damage_is_found_and_the_checkpoint_before_is_used(count, finished, tmp_path, capfd):
    folder = finished / "checkpoints"
    before, newest = sorted(int(path.name) for path in folder.iterdir())
    expected = [np.asarray(x).tobytes() for x in jax.tree.leaves(runs.load(finished, before).state)]
    draw, names = random.Random(count), []
    for _ in range(count):
        workdir = tmp_path / "run"
        shutil.copytree(finished, workdir)
        file = draw.choice(sorted((workdir / "checkpoints" / str(newest)).iterdir()))
        damage(file, draw)
        capfd.readouterr()
        assert state_of(workdir) == expected
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert f"checkpoints/{newest} is damaged and skipped" in said
        assert file.name in said
        names.append(file.name)
        shutil.rmtree(workdir)
    assert set(names) == {"SHA256SUMS", "checkpoint.json", "state.safetensors"}


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    finished, idx_folder, cache, tmp_path
):
    shutil.copytree(finished, tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    damage(newest / "state.safetensors", random.Random(0))
    ended = Trainer("vae_mnist", f"idx:{idx_folder}", cache).finish(tmp_path / "run")
    assert ended.code == 0
    assert "is damaged and skipped" in ended.errors
    assert ended.steps
    assert_same(tmp_path / "run", finished)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("steps", slow_and_nightly(2000, 10_000))
def test_a_long_run_takes_no_more_memory_or_files(steps, tmp_path):
    """vae_mnist with pictures and checkpoints; measured after each hundred steps."""
    images = np.random.default_rng(0).integers(0, 256, (12_800, 28, 28)).astype(np.uint8)
    dataset = data.from_arrays(images, None, images[:1280])
    memory: list[int] = []
    files: list[int] = []

    def measure(epoch: int, state: Any, metrics: Any) -> None:
        memory.append(resident_bytes())
        files.append(open_files())

    learner = systems.vae_mnist(batch_size=128)
    runs.fit(
        learner,
        dataset,
        num_epochs=steps // 100,
        workdir=tmp_path / "run",
        on_epoch=measure,
        checkpoint_every=50,
    )
    settled = 10  # epochs: a thousand steps
    growth = memory[-1] / memory[settled - 1] - 1
    mebibytes = memory[settled - 1] / 2**20
    print(f"{steps} steps: {mebibytes:.0f} MiB, growth {growth:.2%}, {files[-1]} open files")
    assert growth < 0.02
    assert files[-1] <= files[settled - 1]


@pytest.mark.slow
def test_saving_stops_training_for_less_than_a_twentieth(tmp_path, monkeypatch):
    """At the default interval, one epoch, of as many images as MNIST has."""
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28)).astype(np.uint8)
    save, waited = Saving.save, []

    def timed(*args: Any) -> None:
        start = time.perf_counter()
        save(*args)
        waited.append(time.perf_counter() - start)

    monkeypatch.setattr(Saving, "save", timed)
    run = runs.fit(
        systems.vae_mnist(batch_size=128),
        data.from_arrays(images, None, images[:128]),
        num_epochs=4,
        workdir=tmp_path / "run",
        pictures=False,
    )
    epochs = [record["seconds"] for record in run.history]
    assert len(waited) == len(epochs)
    print(f"saving {1000 * np.mean(waited):.0f} ms of epochs of {np.mean(epochs[1:]):.1f} s")
    assert sum(waited[1:]) < 0.05 * sum(epochs[1:])  # the first epoch compiles


@pytest.mark.slow
def test_a_folder_deleted_during_the_run_ends_it_with_one_line(idx_folder, cache, tmp_path):
    trainer = Trainer("vae_mnist", f"idx:{idx_folder}", cache)
    process = trainer.start(tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 4"):
            break
    shutil.rmtree(tmp_path / "run")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in errors
    assert str(tmp_path / "run") in errors.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_best_checkpoint_is_opened_by_the_commands(idx_folder, tmp_path):
    words = ["--dataset", f"idx:{idx_folder}", "--workdir", str(tmp_path / "run"), "--no-pictures"]
    words += [*SYSTEMS["vae_mnist"].split(), "--keep-best", "loss", "--validation-fraction", "0.2"]
    with runs.start(systems.vae_mnist, num_epochs=4, args=words) as run:
        for _ in run.epochs():
            pass
    losses = [record["validation/loss"] for record in run.history]
    assert len(runs.load(tmp_path / "run", "best").history) == int(np.argmin(losses)) + 1
    with pytest.raises(UserError, match="checkpoint of step 999"):
        runs.load(tmp_path / "run", "999")
