"""Every script, from its command line to its last picture, on a few generated images."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgen import systems

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NUM_EPOCHS = 2

GALLERY = {"samples-001.png", "samples-002.png", "losses.png", "gradients.png", "diversity.png"}
GALLERY |= {
    "latent-strip.png",
    "latent-collage.png",
    "latents-animation.gif",
    "latents-animation.webp",
}
each_epoch = {"samples-001.png", "samples-002.png", "reconstructions-001.png"}
each_epoch |= {"samples-animation.gif", "samples-animation.webp"}
explored = {f"latent{end}.png" for end in ("s", "-kl", "-traversals", "-interpolations")}
# Script -> the pictures it must leave, among others.
PICTURES = {
    "vae_mnist": each_epoch | explored | {"loss.png"},
    "autoencoder_mnist": each_epoch | {"loss.png"},
    "vae_binarized_mnist": each_epoch | explored | {"elbo.png"},
    "vae_batchnorm_mnist": each_epoch
    | explored
    | {"loss.png", "noise.png"}
    | {"traversal-sigma.png", "traversal-far-1.png", "traversal-far-2.png"},
    "dcgan_mnist": GALLERY | {"accuracy.png", "samples-averaged-002.png"},
    "dcgan_flowers": GALLERY | {"accuracy.png", "samples-averaged-002.png"},
    "wgan_mnist": GALLERY | {"wasserstein.png", "weights_on_bound.png"},
    "wgan_gp_mnist": GALLERY | {"wasserstein.png"},
    "cvae_mnist": each_epoch | explored | {"loss.png"},
    "iwae_mnist": each_epoch | explored | {"loss.png", "elbo.png"},
    "vae_flowers": each_epoch | explored | {"loss.png", "reconstruction.png", "kl.png"},
    "vae_animals": each_epoch | explored | {"loss.png", "reconstruction.png", "kl.png"},
}
PHOTOGRAPHS = "--resolution 8 --image-channels 1 --channels 4 --num-samples 2"
SMALL = {
    "vae_batchnorm_mnist": "--hidden-sizes 8 8",
    "vae_binarized_mnist": "--hidden-sizes 8 8",
    "dcgan_mnist": "--generator-features 4 3 2 2 --critic-features 2 3 --ema-decay 0.9 "
    "--batch-size 2",
    "dcgan_flowers": "--features 2",
    "wgan_mnist": "--generator-sizes 8 --critic-sizes 8",
    "wgan_gp_mnist": "--generator-sizes 8 --critic-sizes 8",
    "vae_flowers": PHOTOGRAPHS,
    "vae_animals": PHOTOGRAPHS,
}


@pytest.fixture
def folder(name, idx_folder, large_idx_folder):
    return large_idx_folder if name == "dcgan_mnist" else idx_folder


def run(name, idx_folder, workdir, monkeypatch):
    words = f"--latent-size 4 --batch-size 16 {SMALL.get(name, '--hidden-sizes 8')}".split()
    common = ["--num-epochs", str(NUM_EPOCHS), "--dataset", f"idx:{idx_folder}"]
    argv = [f"{name}.py", *common, "--workdir", str(workdir), *words]
    monkeypatch.setattr(sys, "argv", argv)
    runpy.run_path(str(EXPERIMENTS / f"{name}.py"), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PICTURES))
def test_script_leaves_its_results(name, folder, tmp_path, monkeypatch):
    run(name, folder, tmp_path / "run", monkeypatch)
    pictures = {path.name for path in (tmp_path / "run" / "images").iterdir()}
    assert pictures >= PICTURES[name]
    for path in (tmp_path / "run" / "images").iterdir():
        with Image.open(path) as picture:
            assert np.asarray(picture).std() > 0, f"{path.name} shows nothing"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["epoch"] == NUM_EPOCHS


@pytest.mark.slow
def test_latents_of_the_whole_test_set_are_saved_with_their_labels(
    idx_folder, tmp_path, monkeypatch
):
    run("vae_binarized_mnist", idx_folder, tmp_path / "run", monkeypatch)
    with np.load(tmp_path / "run" / "latents.npz") as latents:
        assert latents["mean"].shape == latents["log_var"].shape == (12, 4)
        assert latents["labels"].shape == (12,)


def test_every_system_is_run_here():
    assert sorted(PICTURES) == sorted(systems.__all__)
