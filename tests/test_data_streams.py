"""Streams: the batches of the in-memory epoch, from wherever the epoch was left."""

import threading

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgen import systems
from jaxgen.data import streams
from jaxgen.data.resizing import Square
from jaxgen.errors import UserError

NUM, BATCH = 22, 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (NUM, 6, 5, 1), dtype=np.uint8)
LABELS = np.arange(NUM) % 7
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def learner():
    return systems.vae_mnist(image_shape=(6, 5, 1), hidden_sizes=(8,), latent_size=2, batch_size=4)


def test_steps_over_the_stream_are_the_epoch(learner, quick_compilation):
    whole, expected = learner.epoch(learner.init(jax.random.key(0)), IMAGES, KEY)
    state, losses, sizes = learner.init(jax.random.key(0)), [], []
    for batch in streams.epoch_batches(IMAGES, KEY, BATCH):
        state, metrics = learner.step(state, batch.images, batch.key)
        losses.append(metrics["loss"])
        sizes.append(len(batch.images))
    assert sizes == [4, 4, 4, 4, 4, 2]
    # One program against six: sums in another order, in float32.
    np.testing.assert_allclose(np.stack(losses), expected["loss"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def gathered(**options) -> list[streams.Batch]:
    return list(streams.epoch_batches(IMAGES, KEY, BATCH, labels=LABELS, **options))


def test_every_image_comes_once_with_its_label():
    batches = gathered()
    images = np.concatenate([batch.images for batch in batches])
    labels = np.concatenate([np.asarray(batch.labels) for batch in batches])
    places = [np.flatnonzero((IMAGES == image).all((1, 2, 3))).item() for image in images]
    assert sorted(places) == list(range(NUM))
    assert places != sorted(places)
    np.testing.assert_array_equal(labels, LABELS[places])
    assert labels.dtype == np.int32
    other = next(streams.epoch_batches(IMAGES, jax.random.key(4), BATCH))
    assert (np.asarray(other.images) != np.asarray(batches[0].images)).any()


@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_an_epoch_goes_on_where_it_was_left(start):
    whole, rest = gathered(), gathered(start=start)
    assert [batch.number for batch in rest] == list(range(start, 6))
    for expected, batch in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(batch.images, expected.images)
        np.testing.assert_array_equal(batch.labels, expected.labels)
        assert (jax.random.key_data(batch.key) == jax.random.key_data(expected.key)).all()


def test_arrays_on_disk(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for expected, batch in zip(gathered(), streams.epoch_batches(mapped, KEY, BATCH), strict=True):
        np.testing.assert_array_equal(batch.images, expected.images)


def test_picture_files(tmp_path):
    files = []
    for number in range(9):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8 + number, 9), (number,) * 3).save(files[-1])
    pictures = streams.PictureFiles(files, Square(4, "crop"))
    batches = list(streams.epoch_batches(pictures, KEY, 4))
    values = np.concatenate([np.asarray(batch.images)[:, 0, 0, 0] for batch in batches])
    assert sorted(values.tolist()) == list(range(9))
    assert batches[0].images.shape == (4, 4, 4, 3)
    files[3].write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read .*3\.png"):
        list(streams.epoch_batches(pictures, KEY, 4))


def test_no_more_is_read_than_some_batches_ahead():
    class Counting:
        def __init__(self):
            self.read = 0
            self.lock = threading.Lock()

        def __len__(self):
            return 4000

        def __getitem__(self, index):
            with self.lock:
                self.read += 1
            return np.zeros((2, 2, 1), np.uint8)

    images = Counting()
    batches = streams.epoch_batches(images, KEY, 10)
    for _ in range(3):
        next(batches)
    assert images.read <= 10 * (3 + 1 + streams._BATCHES_AHEAD + streams._THREADS)
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 23}, "one batch of 23 images, got 22"),
        ({"batch_size": 0}, "batch_size"),
        ({"start": 7}, "at most the 6 batches"),
        ({"start": -1}, "start"),
        ({"labels": LABELS[:3]}, "labels"),
        ({"labels": LABELS - 1}, "labels"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_read(arguments, message):
    options = {"batch_size": BATCH, **arguments}
    with pytest.raises(UserError, match=message):
        streams.epoch_batches(IMAGES, KEY, options.pop("batch_size"), **options)
