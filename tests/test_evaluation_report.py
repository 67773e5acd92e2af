"""`evaluate`: one report of everything, and what is kept of an interrupted one."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import evaluation, systems
from jaxgen.errors import UserError
from jaxgen.evaluation import report
from jaxgen.runs import evaluation_tables
from jaxgen.types import Dataset, Split

pytestmark = pytest.mark.usefixtures("quick_compilation")
KEY = jax.random.key(0)
SHAPE = (6, 6, 1)
SMALL: dict[str, Any] = {"image_shape": SHAPE, "hidden_sizes": (8,), "latent_size": 2}
SETTINGS: dict[str, Any] = {"num_samples": 30, "num_images": 40}


def dataset(num_train=80, num_test=60):
    rng = np.random.default_rng(0)

    def split(number):
        images = rng.integers(0, 256, (number, *SHAPE)).astype(np.uint8)
        return Split(images, np.arange(number, dtype=np.int32) % 3)

    return Dataset("noise", {"train": split(num_train), "test": split(num_test)}, "0")


DATA = dataset()


@pytest.fixture(scope="module")
def binary():
    learner = systems.vae_mnist(**SMALL, binarization="threshold")
    return learner, learner.init(KEY)


def evaluate(model, **settings):
    learner, state = model
    return evaluation.evaluate(learner, state, DATA, KEY, **settings)


def test_a_report_of_two_layers_counts_the_active_units_of_each():
    learner = systems.iwae_mnist(
        image_shape=SHAPE,
        hidden_sizes=(8,),
        latent_size=2,
        lower_latent_size=3,
        upper_hidden_sizes=(4,),
        stochastic_layers=2,
    )
    state = learner.init(KEY)
    lower = state.params["lower_encoder"]  # the images decide about its latents, more than before
    state.params["lower_encoder"] = jax.tree.map(lambda x: 4 * x, lower)
    found = evaluate((learner, state), **SETTINGS).report["latents"]
    assert found["latent_sizes"] == [3, 2]
    _, latents_key, _ = jax.random.split(KEY, 3)
    observe_key, _ = jax.random.split(latents_key)
    images = DATA.test.images[:40]
    activity = evaluation.latent_activity(learner, state, images, observe_key)
    assert found["active_units_of_layers"] == [int((layer > 0.01).sum()) for layer in activity]
    assert found["active_units_of_layers"][0] > 0
    row = evaluation_tables.COLUMNS["active units, z₂"]
    assert evaluation_tables._value({"latents": found}, row) == found["active_units_of_layers"][1]


def test_a_report_of_a_vae(binary):
    found = evaluate(binary, **SETTINGS)
    json.dumps(found.report, allow_nan=False)
    likelihood = found.report["likelihood"]
    images = DATA.test.images[:40]
    likelihood_key, _, _ = jax.random.split(KEY, 3)
    _, estimate_key = jax.random.split(likelihood_key)
    learner, state = binary
    alone = evaluation.log_likelihood(learner, state, images, estimate_key, 30)
    assert likelihood["log_likelihood"] == pytest.approx(alone.mean(), abs=1e-4)
    assert likelihood["unit"] == "nats per image"
    assert likelihood["elbo"] <= likelihood["log_likelihood"]
    assert found.report["latents"]["latent_size"] == 2
    quality = found.report["sample_quality"]
    assert quality["num_samples"] == quality["num_reference"] == 40
    assert "random convolutions" in quality["feature_network"]
    assert quality["samples"].keys() == quality["floor"].keys()
    assert found.samples.shape == found.neighbours.shape == (32, *SHAPE)
    indices, _ = evaluation.nearest(found.samples, DATA.train.images)
    np.testing.assert_array_equal(found.neighbours, DATA.train.images[indices])


def test_it_continues_where_it_was_interrupted(binary, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgen.evaluation._chunks.IMAGES_AT_ONCE", 10)
    whole = evaluate(binary, **SETTINGS).report
    partial, seen = tmp_path / "partial.npz", []

    def interrupt(part, done, total):
        seen.append((part, done, total))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(binary, **SETTINGS, partial=partial, progress=interrupt)
    assert seen == [("likelihood", 10, 40), ("likelihood", 20, 40)]
    seen.clear()

    def watch(part, done, total):
        seen.append((part, done, total))

    again = evaluate(binary, **SETTINGS, partial=partial, progress=watch).report
    assert seen[:2] == [("likelihood", 30, 40), ("likelihood", 40, 40)]
    assert again["likelihood"].pop("unit") == whole["likelihood"].pop("unit")
    assert again["likelihood"] == pytest.approx(whole["likelihood"], rel=1e-5)
    # Other settings do not take over what these have left.
    seen.clear()
    other = SETTINGS | {"num_samples": 31}
    evaluate(binary, **other, partial=partial, progress=watch)
    assert seen[0] == ("likelihood", 10, 40)
    partial.write_bytes(b"damaged")
    evaluate(binary, **other, partial=partial)


def test_grey_pixels_have_no_likelihood_but_a_score_when_asked():
    learner = systems.vae_mnist(**SMALL)
    state = learner.init(KEY)
    found = evaluation.evaluate(learner, state, DATA, KEY, **SETTINGS).report
    assert found["likelihood"] is None
    assert "grey pixels under a Bernoulli likelihood" in found["notes"][0]
    asked = evaluation.evaluate(learner, state, DATA, KEY, **SETTINGS, score=True).report
    assert "log_likelihood" not in asked["likelihood"]
    assert asked["likelihood"]["unit"].startswith("no nats")
    assert np.isfinite(asked["likelihood"]["score"])


def test_a_gan_has_sample_quality_alone():
    learner = systems.wgan_mnist(
        image_shape=SHAPE, generator_sizes=(8,), critic_sizes=(8,), latent_size=3, batch_size=10
    )
    found = evaluation.evaluate(learner, learner.init(KEY), DATA, KEY, **SETTINGS).report
    assert found["likelihood"] is None
    assert found["latents"] is None
    assert found["sample_quality"]["samples"]["precision"] is not None


def test_few_images_leave_measures_out_with_a_note(binary):
    found = evaluate(binary, num_samples=5, num_images=15).report
    assert found["sample_quality"]["samples"]["frechet_distance"] is None
    assert any("more images than the" in note for note in found["notes"])


def test_samples_do_not_depend_on_how_many_there_are(binary):
    learner, state = binary
    few = evaluation.draw_samples(learner, state, 3, KEY)
    many = evaluation.draw_samples(learner, state, 300, KEY)
    assert many.shape == (300, *SHAPE)
    assert many.dtype == np.uint8
    np.testing.assert_array_equal(few, many[:3])
    assert len(np.unique(many[[0, 250]], axis=0)) == 2  # another key for the second batch


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "validation"}, r"split of noise \(test, train\), got 'validation'"),
        ({"num_images": 61}, "from 1 to the 60 images"),
        ({"num_samples": 0}, "num_samples to be at least 1"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(binary, settings, message):
    with pytest.raises(UserError, match=message) as refused:
        evaluate(binary, **settings)
    assert "\n" not in str(refused.value)


def test_more_samples_than_memory_and_nan_samples_are_refused(binary):
    learner, state = binary
    with pytest.raises(UserError, match=r"half of the memory .* take fewer"):
        evaluation.draw_samples(learner, state, 10**12, KEY)
    broken = jax.tree.map(lambda x: x * np.nan if x.dtype == np.float32 else x, state)
    with pytest.raises(UserError, match="NaN"):
        evaluation.draw_samples(learner, broken, 3, KEY)


def test_the_number_of_samples_is_bounded(binary, monkeypatch):
    monkeypatch.setattr(report, "MAX_GENERATED", 25)
    found = evaluate(binary, **SETTINGS).report
    assert found["sample_quality"]["num_samples"] == 25
