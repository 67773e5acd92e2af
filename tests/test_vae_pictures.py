"""What the pictures of a VAE's run show, against the same pictures made from its last state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxgen import interop, runs, systems
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids

pytestmark = pytest.mark.usefixtures("shared_systems")

SIZES: dict[str, Any] = {"image_shape": (8, 8, 1), "hidden_sizes": (6,), "latent_size": 4}
STRENGTHS = (0.0, 4.0, 12.0, 8.0)  # factors of the latent dimensions


def shown(run, name):
    with Image.open(run.workdir / "images" / f"{name}.png") as picture:
        return np.asarray(picture)[..., None]


@pytest.fixture(scope="module")
def run(idx_folder, tmp_path_factory):
    """One epoch that changes next to nothing, from weights whose dimensions differ in strength."""
    folder = tmp_path_factory.mktemp("pictures")
    learner = systems.vae_mnist(**SIZES)
    state = learner.init(jax.random.key(0))
    state.params["encoder"]["mean"]["kernel"] *= jnp.array([STRENGTHS])
    interop.save(folder / "weights.safetensors", "vae_mnist", state, **SIZES)
    words = f"--hidden-sizes 6 --latent-size 4 --batch-size 16 --dataset idx:{idx_folder}"
    words += f" --workdir {folder / 'run'} --init-from {folder / 'weights.safetensors'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(folder / "cache"))
        args = [*words.split(), "--learning-rate", "1e-7"]
        with runs.start(systems.vae_mnist, num_epochs=1, args=args) as run:
            pictures = runs.VAEPictures(run)
            for state in run.epochs():
                pictures.draw_epoch(state)
            pictures.draw_run()
    return run


def test_samples_are_of_the_newest_state(run):
    samples = run.learner.sample(run.state, 128, run.key("samples"))
    expected = grids.legible(grids.grid(samples, columns=16))
    np.testing.assert_array_equal(shown(run, "samples-001"), expected)


def test_the_animation_has_the_samples_of_every_epoch(idx_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vae_pictures, "MAX_FRAMES", 3)
    words = f"--hidden-sizes 6 --latent-size 4 --batch-size 16 --dataset idx:{idx_folder}"
    args = [*words.split(), "--workdir", str(tmp_path / "run"), "--learning-rate", "0.1"]
    with runs.start(systems.vae_mnist, num_epochs=5, args=args) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()
    expected = [shown(run, f"samples-{epoch:03d}") for epoch in (1, 3, 5)]
    assert not np.array_equal(expected[0], expected[1])
    for suffix in ("gif", "webp"):
        with Image.open(run.workdir / "images" / f"samples-animation.{suffix}") as animation:
            frames = [
                np.asarray(frame.convert("L"))[..., None]
                for frame in ImageSequence.Iterator(animation)
            ]
        np.testing.assert_array_equal(frames, expected)


def test_test_images_stand_above_their_reconstructions(run):
    originals = run.dataset.test.images
    reconstructions = run.learner.reconstruct(run.state, originals)
    expected = grids.legible(grids.pairs(originals, reconstructions))
    np.testing.assert_array_equal(shown(run, "reconstructions-001"), expected)


def test_traversals_are_of_the_strongest_dimensions_first(run, monkeypatch):
    encoded = run.learner.encode(run.state, run.dataset.test.images)
    mean, log_var = (np.asarray(x, np.float64) for x in encoded)
    strengths = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).mean(axis=0)
    strongest = np.argsort(-strengths)
    assert strongest[0] != 0  # where the first one would not be told from the strongest

    def expected(order):
        walks = np.tile(np.float32(mean[0]), (len(order), 11, 1))
        for row, dimension in enumerate(order):
            walks[row, :, dimension] = np.linspace(-3, 3, 11)
        decoded = run.learner.decode(run.state, walks.reshape(-1, 4))
        return grids.grid(decoded, columns=11)

    np.testing.assert_array_equal(shown(run, "latent-traversals"), expected(strongest))
    monkeypatch.setattr(vae_pictures, "NUM_DIMENSIONS", 2)
    vae_pictures._explore(run)
    np.testing.assert_array_equal(shown(run, "latent-traversals"), expected(strongest[:2]))


def test_interpolations_go_from_one_test_image_to_another(run):
    images, labels = run.dataset.test
    mean = np.asarray(run.learner.encode(run.state, images)[0])
    rows = shown(run, "latent-interpolations")
    assert rows.shape == (8 * 10 + 2, 13 * 10 + 2, 1)  # four pairs of rows of 8x8 pixels
    cell = lambda row, column: rows[2 + 10 * row :, 2 + 10 * column :][:8, :8]  # noqa: E731
    decoded = lambda z: np.rint(np.asarray(run.learner.decode(run.state, z[None]))[0] * 255)  # noqa: E731
    for first in range(4):
        (second,) = (i for i in range(12) if np.array_equal(cell(2 * first, 12), images[i]))
        assert labels[second] != labels[first]
        for row in (2 * first, 2 * first + 1):
            np.testing.assert_array_equal(cell(row, 0), images[first])
            np.testing.assert_array_equal(cell(row, 12), images[second])
            np.testing.assert_allclose(cell(row, 1), decoded(mean[first]), atol=1)
            np.testing.assert_allclose(cell(row, 11), decoded(mean[second]), atol=1)
        middle = (mean[first] + mean[second]) / 2
        np.testing.assert_allclose(cell(2 * first, 6), decoded(middle), atol=1)
