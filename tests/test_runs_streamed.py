"""Runs whose training images are read while they are used: the same as in memory."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from PIL import Image
from test_survival import SYSTEMS, Interrupt, assert_same

from jaxgen import data, runs, systems
from jaxgen.data import memory
from jaxgen.errors import UserError
from jaxgen.runs import evaluating, training
from jaxgen.runs.devices import Devices
from jaxgen.runs.feeding import feeding
from jaxgen.types import Split

pytestmark = pytest.mark.usefixtures("shared_systems")
NUM_EPOCHS = 2


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(training, "FIRST_STEPS", 1)
    monkeypatch.setattr(training, "GROWTH", 1)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    """40 training and 12 test images of 8x8, with labels: the last steps are not full."""
    folder, rng = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 12)):
        images = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", np.arange(count) % 10)
    return folder


@pytest.fixture
def train(arrays):
    def train(system, workdir, *words, place=f"npy:{arrays}"):
        args = ["--dataset", place, "--workdir", str(workdir)]
        args += [*SYSTEMS[system].split(), *words]
        with runs.start(getattr(systems, system), num_epochs=NUM_EPOCHS, args=args) as run:
            drawing = runs.standard_pictures(run)
            every, watch = drawing.every, drawing.watch
            if watch is not None:
                every = drawing.every = 2
            for state in run.epochs(every, watch):
                drawing.draw_epoch(state)
            drawing.draw_run()
        return run

    return train


def assert_close(run, other):
    """Equal but for sums in another order: an epoch is one program in memory."""
    for a, b in zip(run.history, other.history, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if name != "seconds":
                assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-5), name
    for a, b in zip(jax.tree.leaves(run.state), jax.tree.leaves(other.state), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("system", slow_but({"vae_mnist"}, list(SYSTEMS)))
def test_a_streamed_run_is_the_one_in_memory(system, train, tmp_path):
    words = ["--no-pictures", "--num-examples", "37"]
    whole = train(system, tmp_path / "whole", *words)
    streamed = train(system, tmp_path / "streamed", "--stream", *words)
    assert data.is_streamed(streamed.dataset)
    assert_close(streamed, whole)
    assert streamed.config["stream"] is True
    assert "stream" not in whole.config
    summary = json.loads((tmp_path / "streamed" / "summary.json").read_text())
    assert 0 <= summary["waiting_for_data"] <= 1


@pytest.mark.parametrize("system", slow_but({"vae_mnist"}, ["vae_mnist", "wgan_mnist"]))
def test_an_interrupt_within_an_epoch_changes_nothing(system, train, tmp_path, monkeypatch, capsys):
    straight = train(system, tmp_path / "straight", "--stream")
    for after in (3, 3, 3):
        with monkeypatch.context() as patch:
            Interrupt(patch, after)
            with pytest.raises(KeyboardInterrupt):
                train(system, tmp_path / "run", "--stream")
    # Without the flag: a run that resumes streams its data as before.
    resumed = train(system, tmp_path / "run")
    assert "resuming after epoch 0, step 3 of the next" in capsys.readouterr().out
    assert_same(resumed, straight)


def test_a_checkpoint_within_an_epoch_is_gone_back_to(train, tmp_path):
    words = ["--stream", "--no-pictures", "--checkpoint-every", "3", "--keep", "9"]
    straight = train("vae_mnist", tmp_path / "run", *words)
    states = [np.asarray(leaf) for leaf in jax.tree.leaves(straight.state)]
    for step in (9, 10):
        for file in (tmp_path / "run" / "checkpoints" / str(step)).iterdir():
            file.write_bytes(b"damaged")
    resumed = train("vae_mnist", tmp_path / "run", *words)
    for a, b in zip(states, jax.tree.leaves(resumed.state), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_updates_that_are_left_out_are_not_counted():
    def step(state, images, key):
        skipped = jnp.float32(state % 2)
        return state + 1, {"loss": jnp.float32(len(images)), "skipped": skipped}

    learner: Any = SimpleNamespace(
        images_per_step=8, num_classes=0, fills_last_step=False, step=step
    )
    images: Any = data.LazyImages(lambda _: np.zeros((2, 2, 1), np.uint8), (30, 2, 2, 1))
    fed = feeding(learner, Split(images, None), 20, Devices(1))
    state, first = fed.train(0, jax.random.key(0), 0, 2)
    assert first["num_images"].tolist() == [8, 0, 0]
    _, last = fed.train(state, jax.random.key(0), 2, 3)
    assert last["num_images"].tolist() == [0, 0, 4]
    assert last["loss"].tolist() == [0, 0, 4]


def test_other_data_and_other_ways_to_read_them_are_refused(train, arrays, tmp_path):
    train("vae_mnist", tmp_path / "run", "--no-pictures")
    with pytest.raises(UserError, match=r"holds another run .*stream None there, True here"):
        train("vae_mnist", tmp_path / "run", "--no-pictures", "--stream")
    words = ["--no-pictures", "--num-epochs", "1", "--stream"]
    place = tmp_path / "images.npy"
    images = np.load(arrays / "train_images.npy")
    np.save(place, images)
    train("vae_mnist", tmp_path / "streamed", *words, place=f"npy:{place}")
    np.save(place, images[::-1].copy())
    with pytest.raises(UserError, match=r"holds another run .*dataset_fingerprint files:"):
        train("vae_mnist", tmp_path / "streamed", *words, place=f"npy:{place}")


def test_a_run_chosen_by_the_memory_resumes_as_it_was(train, tmp_path, monkeypatch, capsys):
    words = ["--no-pictures", "--num-epochs"]
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available", lambda: 4000)
        assert data.is_streamed(train("vae_mnist", tmp_path / "run", *words, "1").dataset)
        whole = train("vae_mnist", tmp_path / "whole", *words, "1", "--num-examples", "9")
        assert data.is_streamed(whole.dataset)
    assert "of available memory" in capsys.readouterr().err
    assert data.is_streamed(train("vae_mnist", tmp_path / "run", *words, "2").dataset)
    in_memory = train("vae_mnist", tmp_path / "small", *words, "1")
    assert not data.is_streamed(in_memory.dataset)
    monkeypatch.setattr(memory, "available", lambda: 4000)
    in_memory = train("vae_mnist", tmp_path / "small", *words, "2")
    assert not data.is_streamed(in_memory.dataset)


@pytest.mark.parametrize("fast", [False, True])
def test_a_finished_run_finds_its_data(fast, train, arrays, tmp_path):
    words = ["--no-pictures", "--num-epochs", "1", "--stream"]
    words += ["--fast-fingerprint"] if fast else []
    train("vae_mnist", tmp_path / "run", *words)
    found = runs.load(tmp_path / "run")
    assert data.is_streamed(found.dataset)
    np.testing.assert_array_equal(
        np.asarray(found.dataset.train.images)[..., 0], np.load(arrays / "train_images.npy")
    )


@pytest.mark.slow
def test_evaluation_compares_with_the_first_images(train, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "MAX_STREAMED", 30)
    train("vae_mnist", tmp_path / "run", "--no-pictures", "--stream", "--num-examples", "35")
    found = runs.load(tmp_path / "run")
    report = runs.evaluate_run(found, num_samples=2)
    assert report["training_images_compared"] == 30


def test_populations_need_their_data_in_memory(arrays, tmp_path):
    dataset = data.load(f"npy:{arrays}", stream=True)
    with pytest.raises(UserError, match="in memory to train a population"):
        runs.fit_population(
            systems.vae_mnist, dataset, num_epochs=1, workdir=tmp_path / "all", seeds=[0]
        )


COMMAND = [sys.executable, "-m", "jaxgen", "train", "vae_flowers", "--resolution", "16"]
COMMAND += ["--batch-size", "8", "--num-epochs", "3", "--checkpoint-every", "5", "--no-pictures"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for i in range(200):
        pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.jpg")

    def command(workdir):
        where = ["--dataset", f"folder:{folder}", "--workdir", str(tmp_path / workdir)]
        return [*COMMAND, *where, "--stream"]

    subprocess.run(command("straight"), check=True, capture_output=True)
    checkpoints = tmp_path / "run" / "checkpoints"
    process = subprocess.Popen(command("run"), stdout=subprocess.DEVNULL)
    within = lambda: [p for p in checkpoints.glob("*") if p.name.isdecimal() and int(p.name) % 23]  # noqa: E731
    deadline = time.monotonic() + 300
    while not within() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command("run"), check=True, capture_output=True, text=True)
    assert "resuming after epoch" in done.stdout
    assert "of the next" in done.stdout
    straight, resumed = (runs.load(tmp_path / name) for name in ("straight", "run"))
    for a, b in zip(jax.tree.leaves(straight.state), jax.tree.leaves(resumed.state), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    strip = lambda run: [{k: v for k, v in r.items() if k != "seconds"} for r in run.history]  # noqa: E731
    assert strip(straight) == strip(resumed)
