"""What a GAN's run keeps of its fixed latents, over interruptions, and how a collapse is named."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxgen import runs, systems
from jaxgen.learners import with_averaged_generator
from jaxgen.runs import gan_pictures
from jaxgen.runs.trainer import Trainer
from jaxgen.visualization import grids

pytestmark = pytest.mark.usefixtures("shared_systems")
WORDS = "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4 --num-critic-steps 2"


@pytest.fixture
def train(idx_folder, capsys):
    """Trains a small WGAN on 40 images in steps of 8; gives the run and what it printed."""

    def train(workdir, num_epochs=2, every: int | None = 2, *words):
        args = [*WORDS.split(), *words, "--dataset", f"idx:{idx_folder}", "--workdir", str(workdir)]
        with runs.start(systems.wgan_mnist, num_epochs=num_epochs, args=args) as run:
            pictures = runs.GANPictures(run, every)
            for state in run.epochs(pictures.every, pictures.watch):
                pictures.draw_epoch(state)
            pictures.draw_run()
        return run, capsys.readouterr().out

    return train


def kept(workdir):
    frames = []
    for path in sorted((workdir / "fixed-latents").iterdir()):
        with np.load(path) as file:
            frames.append(file["frames"])
    return frames


def test_frames_are_the_same_latents_at_the_promised_steps(train, tmp_path):
    run, _ = train(tmp_path / "run")
    frames = kept(tmp_path / "run")
    # Ten steps, looked at after every second one; the fifth falls into the second epoch.
    assert [part.shape for part in frames] == [(2, 24, 8, 8, 1), (3, 24, 8, 8, 1)]
    last = run.learner.decode(run.state, runs.GANPictures(run)._latents)
    np.testing.assert_array_equal(frames[-1][-1], np.rint(np.asarray(last) * 255).astype(np.uint8))


def test_samples_are_of_the_generator_and_of_its_average(train, tmp_path):
    run, _ = train(tmp_path / "run", 1, None, "--ema-decay", "0.9", "--learning-rate", "0.1")
    for name, state in (("", run.state), ("-averaged", with_averaged_generator(run.state))):
        samples = run.learner.sample(state, 64, run.key("samples"))
        expected = grids.legible(grids.grid(samples))
        with Image.open(tmp_path / "run" / "images" / f"samples{name}-001.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture)[..., None], expected)


@pytest.mark.slow
def test_an_interrupted_run_keeps_the_same_frames(train, tmp_path):
    train(tmp_path / "straight")
    train(tmp_path / "resumed", num_epochs=1)
    train(tmp_path / "resumed", num_epochs=2)
    for a, b in zip(kept(tmp_path / "straight"), kept(tmp_path / "resumed"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_looks_last_until_the_epoch_is_saved(train, tmp_path, monkeypatch):
    """The process dies between the last look of an epoch and its checkpoint."""
    train(tmp_path / "straight")

    class KilledError(Exception):
        pass

    def finish_epoch(trainer, record):
        if record["epoch"] == 2:
            raise KilledError
        original(trainer, record)

    original = Trainer.finish_epoch
    words = "--checkpoint-every", "3", "--keep", "1"
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Trainer, "finish_epoch", finish_epoch)
        train(tmp_path / "run", 2, 2, *words)
    _, out = train(tmp_path / "run", 2, 2, *words)
    assert "step 4 of the next" in out
    for part, other in zip(kept(tmp_path / "run"), kept(tmp_path / "straight"), strict=True):
        np.testing.assert_array_equal(part, other)


def test_the_strip_shows_one_latent_enlarged_without_smoothing(train, tmp_path):
    train(tmp_path / "run")
    frames = np.concatenate(kept(tmp_path / "run"))
    with Image.open(tmp_path / "run" / "images" / "latent-strip.png") as picture:
        strip = np.asarray(picture)
    # Five frames of 8 pixels between margins of 2, all of it four times as large.
    assert strip.shape == (4 * (8 + 4), 4 * (5 * 10 + 2))
    for i, frame in enumerate(frames):
        left = 4 * (2 + 10 * i)
        shown = strip[8 : 8 + 32, left : left + 32]
        np.testing.assert_array_equal(shown, frame[0, ..., 0].repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("every", [None, 1000])
def test_at_least_one_look_an_epoch(train, tmp_path, every):
    train(tmp_path / "run", every=every)
    assert [len(part) for part in kept(tmp_path / "run")] == [1, 1]


def test_a_run_may_be_without_pictures_for_a_while(train, tmp_path):
    train(tmp_path / "run", 1, None, "--no-pictures")
    assert not (tmp_path / "run" / "images").exists()
    train(tmp_path / "run", 2, None)
    assert [path.name for path in (tmp_path / "run" / "fixed-latents").iterdir()] == ["0002.npz"]
    assert (tmp_path / "run" / "images" / "latent-strip.png").exists()


def test_frames_of_epochs_that_were_lost_are_removed(train, tmp_path):
    train(tmp_path / "run", 2, None)
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    train(tmp_path / "run", 1, None)
    assert [path.name for path in (tmp_path / "run" / "fixed-latents").iterdir()] == ["0001.npz"]


@pytest.mark.parametrize(("limit", "named"), [(1e9, True), (0.0, False)])
def test_a_collapsed_generator_is_named_in_one_line(train, tmp_path, monkeypatch, limit, named):
    monkeypatch.setattr(gan_pictures, "COLLAPSED", limit)
    _, output = train(tmp_path / "run", num_epochs=1)
    lines = [line for line in output.splitlines() if "the generator has collapsed" in line]
    assert len(lines) == named
    if named:
        assert lines[0].startswith("epoch 1: the generator has collapsed: its samples differ")
