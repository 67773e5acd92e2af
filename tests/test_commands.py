"""`python -m jaxgen`: train, sample, convert, versions."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgen
from jaxgen import _commands, runs, systems
from jaxgen._published import PUBLISHED
from jaxgen.errors import UserError

pytestmark = pytest.mark.usefixtures("shared_systems")
ROOT = Path(__file__).parents[1]
SMALL = "--latent-size 3 --batch-size 16 --num-epochs 1"
VAE = f"{SMALL} --hidden-sizes 6"
GAN = f"{SMALL} --generator-sizes 6 --critic-sizes 5 --ema-decay 0.9"


def train(name, words, idx_folder, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(folder / "cache"))
        data = f"--dataset idx:{idx_folder} --workdir {folder / name}"
        _commands.run(["train", name, *f"{words} {data}".split()])
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def vae(idx_folder, folder):
    return train("cvae_mnist", VAE, idx_folder, folder)


@pytest.fixture(scope="module")
def gan(idx_folder, folder):
    return train("wgan_mnist", f"{GAN} --no-pictures", idx_folder, folder)


def sample(workdir, words, output) -> Any:
    """The images, where they are written as arrays."""
    _commands.run(["sample", str(workdir), *words.split(), "--output", str(output)])
    if output.suffix == ".npz":
        with np.load(output) as arrays:
            return arrays["images"]
    return None


def test_train_leaves_what_the_script_leaves(vae):
    pictures = {path.name for path in (vae / "images").iterdir()}
    assert pictures >= {"samples-001.png", "reconstructions-001.png", "elbo.png", "latents.png"}
    assert json.loads((vae / "summary.json").read_text())["system"] == "cvae_mnist"
    assert len(runs.load(vae).history) == 1


def test_sample_draws_each_class_and_is_decided_by_its_seed(vae, tmp_path):
    run = runs.load(vae)
    images = sample(vae, "--num-samples 20", tmp_path / "a.npz")
    assert (images.shape, images.dtype) == ((20, 8, 8, 1), np.uint8)
    np.testing.assert_array_equal(images, sample(vae, "--num-samples 20", tmp_path / "b.npz"))
    assert (images != sample(vae, "--num-samples 20 --seed 1", tmp_path / "c.npz")).any()
    assert run.learner.num_classes == 10


@pytest.mark.parametrize("words", ["sample", "evaluate", "explore"])
def test_a_checkpoint_can_be_chosen_by_its_step(vae, words):
    with pytest.raises(UserError, match="expected a checkpoint of step 999"):
        _commands.run([words, str(vae), "--which", "999"])


def test_sample_writes_a_grid_or_a_folder(vae, tmp_path):
    sample(vae, "--num-samples 6 --label 3", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (3 * 10 + 2, 2 * 10 + 2)
    sample(vae, "--num-samples 12 --label 3", tmp_path / "pictures")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"{i:02d}.png" for i in range(12)]
    arrays = sample(vae, "--num-samples 12 --label 3", tmp_path / "arrays.npz")
    with Image.open(tmp_path / "pictures" / "07.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), arrays[7, ..., 0])


def test_variations_are_draws_from_the_posterior_of_a_picture(vae, tmp_path):
    run = runs.load(vae)
    pixels = run.dataset.test.images[0]
    # Larger and not square: its middle, which is the test image, is what counts.
    wide = np.pad(pixels[..., 0], ((0, 0), (5, 5)))
    Image.fromarray(wide).save(tmp_path / "picture.png")
    words = f"--like {tmp_path / 'picture.png'} --label 4 --num-samples 4000"
    images = sample(vae, words, tmp_path / "variations.npz") / np.float32(255)

    given = {"labels": np.array([4])}
    mean, log_var = run.learner.require("encode")(run.state, pixels[None], **given)
    noise = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    drawn = mean + np.exp(log_var / 2) * noise
    labels = np.full(4000, 4)
    expected = np.asarray(run.learner.require("decode")(run.state, drawn, labels=labels))
    error = expected.std(axis=0).max() / np.sqrt(4000)
    np.testing.assert_allclose(images.mean(axis=0), expected.mean(axis=0), atol=8 * error + 1 / 510)
    np.testing.assert_allclose(images.std(axis=0), expected.std(axis=0), atol=0.01)


def test_a_walk_between_two_pictures_is_straight_in_latent_space(vae, tmp_path):
    run = runs.load(vae)
    ends = []
    for i in range(2):
        Image.fromarray(run.dataset.test.images[i, ..., 0]).save(tmp_path / f"{i}.png")
        given = {"labels": np.array([2])}
        pixels = run.dataset.test.images[i : i + 1]
        ends.append(run.learner.require("encode")(run.state, pixels, **given)[0])
    words = f"--interpolate {tmp_path / '0.png'} {tmp_path / '1.png'} --label 2 --num-samples 5"
    images = sample(vae, words, tmp_path / "walk.npz")
    weights = np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    path = (1 - weights) * ends[0] + weights * ends[1]
    expected = run.learner.require("decode")(run.state, path, labels=np.full(5, 2))
    np.testing.assert_allclose(images / np.float32(255), expected, atol=0.51 / 255)


def test_the_averaged_generator_is_sampled_unless_raw(gan, tmp_path):
    run = runs.load(gan)
    words = "--interpolate 3 4 --num-samples 3"
    averaged = sample(gan, words, tmp_path / "a.npz")
    raw = sample(gan, f"{words} --raw", tmp_path / "b.npz")
    assert (averaged != raw).any()
    ends = jax.numpy.stack([jax.random.normal(jax.random.key(seed), (3,)) for seed in (3, 4)])
    expected = run.learner.require("decode")(run.state, ends)
    np.testing.assert_allclose(raw[[0, 2]] / np.float32(255), expected, atol=0.51 / 255)
    # Halfway on the sphere: (a + b) sin(Ω/2) / sin Ω.
    a, b = np.asarray(ends, np.float64)
    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    middle = (a + b) * np.sin(angle / 2) / np.sin(angle)
    expected = run.learner.require("decode")(run.state, middle[None].astype(np.float32))
    np.testing.assert_allclose(raw[1:2] / np.float32(255), expected, atol=0.51 / 255)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--like nowhere.png --label 1", r"cannot read the picture nowhere\.png \(No such file"),
        ("--like nowhere.png", "pass the picture's --label"),
        ("--label 10", "--label from 0 to 9, got 10"),
        ("--raw", "averaged generator"),
        ("--num-samples 0", "--num-samples of at least 1"),
        ("--output x.gif", r"\.png, a \.npz or a folder"),
        ("--like a --interpolate a b", "got both"),
    ],
)
def test_what_cannot_be_sampled_is_told_in_one_line(vae, words, message):
    with pytest.raises(UserError, match=message):
        _commands.run(["sample", str(vae), *words.split()])


def test_a_gan_has_no_posterior(gan):
    for words in ("--like x.png", "--interpolate a.png b.png"):
        with pytest.raises(UserError, match="no encoder"):
            _commands.run(["sample", str(gan), *words.split()])


def test_convert_takes_a_run(gan, tmp_path):
    _commands.run(["convert", "to-torch", str(gan), str(tmp_path / "weights.safetensors")])
    assert (tmp_path / "weights.safetensors").exists()


def test_versions(capsys):
    _commands.run(["versions"])
    output = capsys.readouterr().out
    versions = jaxgen.versions()
    assert versions.keys() >= {"jaxgen", "python", "jax", "jaxlib", "flax", "optax", "numpy"}
    for name, version in versions.items():
        assert re.search(rf"^{name} +{re.escape(version)}$", output, re.MULTILINE)


@pytest.mark.parametrize("words", ["", "train", "sample", "convert", "versions"])
def test_help_needs_no_jax(words):
    program = (
        "import sys; from jaxgen import _commands\n"
        "try: _commands.run(sys.argv[1:] + ['--help'])\n"
        "except SystemExit as stopped: assert stopped.code == 0\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "usage: jaxgen" in done.stdout


def test_published_runs_are_those_of_the_scripts():
    assert sorted(PUBLISHED) == sorted(systems.__all__)
    for name, published in PUBLISHED.items():
        text = (ROOT / "experiments" / f"{name}.py").read_text()
        found = re.search(rf"start\(systems\.{name}, num_epochs=(\d+)(, dataset=\"(.*)\")?\)", text)
        assert found, name
        assert (int(found[1]), found[3] or "auto") == published
