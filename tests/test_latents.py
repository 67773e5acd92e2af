"""Walks through latent space, and the measures of which of its dimensions are in use."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from PIL import Image

from jaxgen import runs, systems
from jaxgen.evaluation import latents

pytestmark = pytest.mark.usefixtures("quick_compilation")
D = 5
SMALL: dict[str, Any] = {"image_shape": (4, 4, 1), "hidden_sizes": (6,), "latent_size": D}


def ends():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(D) * length, jnp.float32) for length in (1, 3))


@pytest.mark.parametrize("spherical", [False, True])
def test_an_interpolation_goes_from_end_to_end(spherical):
    start, end = ends()
    path = latents.interpolation(start, end, 7, spherical)
    assert path.shape == (7, D)
    np.testing.assert_allclose(path[0], start, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(path[-1], end, rtol=1e-5, atol=1e-6)


def test_the_linear_path_is_straight_and_even():
    start, end = ends()
    steps = np.diff(np.float64(latents.interpolation(start, end, 7)), axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps.mean(axis=0), steps.shape), rtol=1e-4)


def test_the_spherical_path_stays_on_the_sphere_and_turns_evenly():
    start, end = (x / np.linalg.norm(x) for x in ends())
    path = np.asarray(latents.interpolation(start, end, 7, spherical=True), np.float64)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, rtol=1e-5)
    angles = np.arccos(np.sum(path[1:] * path[:-1], axis=1))
    total = np.arccos(np.asarray(start, np.float64) @ np.asarray(end, np.float64))
    np.testing.assert_allclose(angles, total / 6, rtol=1e-3)


@pytest.mark.parametrize("factor", [0.0, 1.0, -1.0, 2.0])
def test_where_the_sphere_shows_no_way_the_path_is_linear(factor):
    start, _ = ends()
    path = latents.interpolation(start, factor * start, 5, spherical=True)
    linear = latents.interpolation(start, factor * start, 5)
    np.testing.assert_allclose(path, linear, rtol=1e-5, atol=1e-5)


def test_active_dimensions_are_those_whose_mean_varies():
    # Burda's threshold is a variance of 0.01, a standard deviation of 0.1.
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((5000, 4)) * [1.0, 0.12, 0.08, 0.0] + [0, 0, 5, 5]
    np.testing.assert_array_equal(latents.active(mean), [True, True, False, False])


def test_the_posterior_of_a_data_set_is_that_of_its_images(monkeypatch):
    learner = systems.vae_mnist(**SMALL)
    state = learner.init(jax.random.key(0))
    pictures = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1)).astype(np.uint8)
    monkeypatch.setattr(latents, "IMAGES_AT_ONCE", 4)
    mean, log_var = latents.posterior(learner, state, pictures)
    expected = learner.encode(state, pictures)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_var, expected[1], rtol=1e-5, atol=1e-6)


def test_each_image_of_a_data_set_is_encoded_with_its_label(monkeypatch):
    learner = systems.cvae_mnist(**SMALL)
    state = learner.init(jax.random.key(0))
    pictures = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1)).astype(np.uint8)
    labels = np.arange(10, dtype=np.int32)
    monkeypatch.setattr(latents, "IMAGES_AT_ONCE", 4)
    found = latents.posterior(learner, state, pictures, jnp.asarray(labels))
    expected = learner.encode(state, pictures, labels=labels)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_traversal_moves_one_dimension_under_one_label():
    learner = systems.cvae_mnist(**SMALL)
    state = learner.init(jax.random.key(0))
    start, values = ends()[0], np.array([-2.0, 0.0, 2.0], np.float32)
    walk = latents.traversal(learner, state, start, 3, values, label=7)
    by_hand = np.tile(start, (3, 1))
    by_hand[:, 3] = values
    expected = learner.decode(state, by_hand, labels=np.full(3, 7, np.int32))
    np.testing.assert_array_equal(walk, expected)


PICTURES = ["latent-kl", "latents", "latent-traversals", "latent-interpolations"]


EXPLORED = ["vae_mnist", "cvae_mnist", "iwae_mnist"]


@pytest.mark.parametrize("name", slow_but((), EXPLORED))
def test_a_run_is_explored(name, idx_folder, tmp_path, capsys):
    words = f"--dataset idx:{idx_folder} --workdir {tmp_path / 'run'} --batch-size 16"
    args = f"{words} --hidden-sizes 6 --latent-size {D}".split()
    with runs.start(getattr(systems, name), num_epochs=1, args=args) as run:
        for _ in run.epochs():
            pass
        runs.VAEPictures(run).draw_run()
    assert f"of {D} latent dimensions are active" in capsys.readouterr().out
    for picture in PICTURES:
        with Image.open(tmp_path / "run" / "images" / f"{picture}.png") as image:
            assert np.asarray(image).std() > 0
            if picture == "latent-traversals":  # one row a dimension, one column a step
                assert image.size == (11 * 10 + 2, D * 10 + 2)
            if picture == "latent-interpolations":  # ends beside the path, two rows a pair
                assert image.size == (13 * 10 + 2, 8 * 10 + 2)
