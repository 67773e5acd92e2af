"""Signals at runs: they save, leave within ten seconds with the signal's code, and resume exactly.

A fifth of the cases is marked slow; `pytest -m 'slow or nightly'` runs them all.
"""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_idx_folder
from marks import a_fifth_slow
from PIL import Image
from test_faults import Trainer, assert_same

SECONDS = 10.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

# Says when a phase of the run has begun, and makes it last long enough to be met.
HOOKS = """
import collections, functools, sys, time
import jax, jax.numpy as jnp
from PIL import Image
from jaxgen import systems

phase, at, name = {phase!r}, {at}, sys.argv[1]
make, opened, calls = getattr(systems, name), Image.open, collections.Counter()

def begun():
    print("now", flush=True)

def slowly_opened(*args, **words):
    calls["open"] += 1
    if calls["open"] == at:
        begun()
    time.sleep(0.2)
    return opened(*args, **words)

@functools.wraps(make)
def watched(**hyperparameters):
    learner = make(**hyperparameters)

    def epoch(*args, **words):
        calls["epoch"] += 1
        if calls["epoch"] == at:
            begun()
        return learner.epoch(*args, **words)

    def evaluate(state, images, key, **words):
        metrics = learner.evaluate(state, images, key, **words)
        calls["evaluate"] += 1
        if calls["evaluate"] == at:
            x = jnp.ones((1000, 1000))
            product = jax.jit(lambda x: jax.lax.fori_loop(0, 3000, lambda _, y: x @ y / 1000, x))
            late = product(x)
            begun()
            metrics = jax.tree.map(lambda metric: metric + 0 * late[0, 0], metrics)
        return metrics

    chosen = dict(compiling=dict(epoch=epoch), training=dict(epoch=epoch))
    return learner._replace(**chosen.get(phase, dict(evaluate=evaluate)))

if phase == "decoding":
    Image.open = slowly_opened
else:
    setattr(systems, name, watched)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3)).astype(np.uint8)
    for i, image in enumerate(pixels):
        place = folder / ("train" if i < 40 else "test") / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    return folder


def interrupted(process: subprocess.Popen[str], number: int, draw: random.Random) -> float:
    """Sends the signal once the phase has begun; how many seconds the process then takes to end."""
    assert process.stdout is not None
    for line in process.stdout:
        if line == "now\n":
            break
    time.sleep(draw.uniform(0.0, 0.5))
    start = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    seconds = time.monotonic() - start
    assert process.returncode == CODES[signal.Signals(number)], errors
    assert "Traceback" not in errors
    print(f"left after {seconds:.1f} s")
    return seconds


CASES = [(phase, number) for number in CODES for phase in ("decoding", "training", "evaluating")]


@pytest.mark.parametrize("case", a_fifth_slow(CASES))
def test_a_signal_ends_a_run_within_ten_seconds_and_changes_nothing(
    case, photographs, cache, tmp_path
):
    phase, number = case
    trainer = Trainer("vae_mnist", f"folder:{photographs}", cache / phase)
    draw = random.Random(f"{phase} {number}")
    hooks = HOOKS.format(phase=phase, at=draw.randint(2, 9))
    shutil.rmtree(cache / phase, ignore_errors=True)  # decodes and compiles
    assert interrupted(trainer.start(tmp_path / "run", before=hooks), number, draw) < SECONDS
    if phase == "decoding":
        assert not list((cache / phase).glob("datasets/folder*"))
    resumed = trainer.finish(tmp_path / "run")
    assert resumed.code == 0, resumed.errors
    assert trainer.finish(tmp_path / "straight").code == 0
    assert_same(tmp_path / "run", tmp_path / "straight")


@pytest.mark.parametrize("number", a_fifth_slow(CODES))
def test_a_signal_ends_a_compilation_within_ten_seconds(number, cache, tmp_path):
    """A DCGAN of the published size, whose first stretch compiles for many seconds."""
    folder = make_idx_folder(tmp_path, size=28)
    trainer = Trainer("dcgan_mnist", f"idx:{folder}", cache / str(number))
    trainer.words = [*trainer.words[:4], "--batch-size", "8"]
    hooks = HOOKS.format(phase="compiling", at=1)
    process = trainer.start(tmp_path / "run", before=hooks)
    assert interrupted(process, number, random.Random(number)) < SECONDS
