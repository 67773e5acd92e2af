"""The conditional VAE: what labels do, and what becomes of wrong ones."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import data, runs, systems
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

pytestmark = pytest.mark.usefixtures("quick_compilation")
CLASSES, LATENT_SIZE = 3, 2
SMALL: dict[str, Any] = {
    "image_shape": (4, 4, 1),
    "hidden_sizes": (16,),
    "latent_size": LATENT_SIZE,
    "num_classes": CLASSES,
    "learning_rate": 1e-2,
    "batch_size": 30,
}


def striped(count=90):
    """Class n is a bright row n, with noise: (images, labels)."""
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % CLASSES).astype(np.int32)
    images = rng.integers(0, 60, (count, 4, 4, 1))
    images[np.arange(count), labels] += 190
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def trained():
    learner = systems.cvae_mnist(**SMALL)
    images, labels = striped()
    state = learner.init(jax.random.key(0))
    for epoch in range(60):
        state, _ = learner.epoch(state, images, jax.random.key(epoch), labels=labels)
    return learner, state


def bright_rows(images):
    return np.asarray(images).mean(axis=(2, 3)).argmax(axis=1)


def test_samples_show_the_label_they_were_given(trained):
    learner, state = trained
    labels = np.arange(30, dtype=np.int32) % CLASSES
    samples = learner.sample(state, 30, jax.random.key(1), labels=labels)
    np.testing.assert_array_equal(bright_rows(samples), labels)


def test_samples_without_labels_show_every_class_alike(trained):
    learner, state = trained
    rows = bright_rows(learner.sample(state, 600, jax.random.key(1)))
    counts = np.bincount(rows, minlength=CLASSES)
    assert np.all(np.abs(counts[:CLASSES] - 200) < 4 * np.sqrt(600 * 1 / 3 * 2 / 3))


def test_the_latent_need_not_carry_the_label(trained):
    # The same latents, decoded under another label, show the other class.
    learner, state = trained
    images, labels = striped(30)
    mean, _ = learner.encode(state, images, labels=labels)
    other = (labels + 1) % CLASSES
    np.testing.assert_array_equal(bright_rows(learner.decode(state, mean, labels=other)), other)
    own = learner.reconstruct(state, images, labels=labels)
    np.testing.assert_array_equal(bright_rows(own), labels)


def test_an_epoch_and_an_evaluation_pair_each_image_with_its_label(trained):
    learner, state = trained
    images, labels = striped(50)  # a ragged last batch
    right = learner.evaluate(state, images, jax.random.key(0), labels=labels)
    order = np.random.default_rng(0).permutation(50)
    shuffled = learner.evaluate(state, images[order], jax.random.key(0), labels=labels[order])
    wrong = learner.evaluate(state, images, jax.random.key(0), labels=labels[order])
    assert right["loss"] < wrong["loss"] - 1
    np.testing.assert_allclose(right["loss"], shuffled["loss"], rtol=0.02)  # other noise
    # An epoch that shuffled images and labels separately would lose their relation.
    before = jax.tree.map(np.array, state)
    _, metrics = learner.epoch(
        jax.tree.map(jax.numpy.array, before), images, jax.random.key(1), labels=labels
    )
    assert np.all(np.abs(metrics["loss"] - right["loss"]) < 1)


@pytest.mark.parametrize("call", ["step", "epoch", "evaluate"])
def test_missing_labels_are_a_user_error(call):
    learner = systems.cvae_mnist(**SMALL)
    state = learner.init(jax.random.key(0))
    with pytest.raises(UserError, match=r"expected labels, int32 .*, got none"):
        getattr(learner, call)(state, striped()[0], jax.random.key(1))


def test_labels_of_a_system_that_takes_none_are_a_user_error():
    learner = systems.vae_mnist(**{k: v for k, v in SMALL.items() if k != "num_classes"})
    images, labels = striped()
    with pytest.raises(UserError, match="expected no labels"):
        learner.evaluate(learner.init(jax.random.key(0)), images, jax.random.key(1), labels=labels)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_an_impossible_number_of_classes_is_a_user_error(num_classes):
    with pytest.raises(UserError, match=f"num_classes .* got {num_classes}"):
        systems.cvae_mnist(num_classes=num_classes)


def start(tmp_path, monkeypatch, labels, *words):
    images, _ = striped(len(labels) if labels is not None else 6)
    split = Split(images, labels)
    dataset = Dataset("made up", {"train": split, "test": split}, "0")
    monkeypatch.setattr(data, "load", lambda *_, **__: dataset)
    args = ["--workdir", str(tmp_path / "run"), "--batch-size", "2", *words]
    return runs.start(systems.cvae_mnist, num_epochs=1, args=args)


def test_a_data_set_without_labels_is_a_user_error(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="made up has no labels"):
        start(tmp_path, monkeypatch, None)
    assert not (tmp_path / "run").exists()


def test_labels_beyond_the_number_of_classes_are_a_user_error(tmp_path, monkeypatch):
    labels = np.arange(12, dtype=np.int32)
    with pytest.raises(UserError, match=r"in 0\.\.9, got 11: .*--num-classes 12"):
        start(tmp_path, monkeypatch, labels)
    with start(tmp_path, monkeypatch, labels, "--num-classes", "12") as run:
        assert run.learner.num_classes == 12
