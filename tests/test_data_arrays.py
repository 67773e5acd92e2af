"""Arrays of one's own as a data set: what is taken, what is held out, what is refused."""

import doctest
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data
from jaxgen.data.storage.fingerprints import fingerprint
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
FLOATS = PIXELS.astype(np.float32) / 255
LABELS = np.arange(50) % 7


def the_error(*args, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        data.from_arrays(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_splits_given():
    dataset = data.from_arrays(PIXELS[:40], LABELS[:40], PIXELS[40:], LABELS[40:], name="mine")
    assert dataset.name == "mine"
    assert list(dataset.splits) == ["train", "test"]
    np.testing.assert_array_equal(dataset.train.images, PIXELS[:40])
    np.testing.assert_array_equal(dataset.test.images, PIXELS[40:])
    assert dataset.train.labels is not None
    np.testing.assert_array_equal(dataset.train.labels, LABELS[:40])
    assert dataset.train.labels.dtype == np.int32
    assert dataset.fingerprint == fingerprint(dataset.splits)


@pytest.mark.parametrize(
    "convert",
    [np.float32, np.float64, np.float16, jnp.float32, jnp.bfloat16, lambda x: x.tolist()],
    ids=["float32", "float64", "float16", "jax", "bfloat16", "list"],
)
def test_floats_become_float32(convert):
    dataset = data.from_arrays(convert(FLOATS))
    assert dataset.train.images.dtype == np.float32
    assert dataset.train.images.min() >= 0
    assert dataset.train.images.max() <= 1
    both = np.concatenate([dataset.train.images, dataset.test.images])
    # bfloat16 has 8 bits: half a unit in the last place below 1 is 2**-9.
    assert abs(np.sort(both, None) - np.sort(FLOATS, None)).max() <= 2**-9


def test_rounding_errors_are_clipped():
    images = np.array([-1e-5, 0.5, 1 + 1e-5], np.float32).reshape(3, 1, 1)
    both = [*data.from_arrays(images, test_images=images).splits.values()]
    assert both[0].images.ravel().tolist() == [0, 0.5, 1]
    assert images.min() < 0  # the caller's array is as it was


def test_a_channel_is_added():
    dataset = data.from_arrays(PIXELS[..., 0], LABELS[:, None])
    assert dataset.train.images.shape == (45, 6, 5, 1)
    assert dataset.test.images.shape == (5, 6, 5, 1)
    assert dataset.train.labels is not None
    assert dataset.train.labels.shape == (45,)


def test_a_tenth_is_held_out_whatever_the_images():
    first, second = data.from_arrays(PIXELS, LABELS), data.from_arrays(PIXELS, LABELS)
    assert first.fingerprint == second.fingerprint
    numbers = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 2, 2))
    dataset = data.from_arrays(numbers, np.arange(200))
    train, test = dataset.train.labels, dataset.test.labels
    assert train is not None
    assert test is not None
    assert len(test) == 20
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(200))
    assert (np.diff(train) > 0).all()
    np.testing.assert_array_equal(dataset.test.images[:, 0, 0, 0], test)  # labels follow images
    # Neither a block nor every tenth: sorted or periodic classes stay mixed.
    assert np.ptp(test) > 100
    assert len(set(np.diff(test))) > 3
    # The same in every version of NumPy.
    assert test[:5].tolist() == [2, 3, 11, 13, 20]


def test_two_images_are_enough():
    dataset = data.from_arrays(PIXELS[:2])
    assert len(dataset.train.images) == len(dataset.test.images) == 1
    assert "at least two" in the_error(PIXELS[:1])


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        (FLOATS * 2 - 1, ["[-1, 1]", "(x + 1) / 2"]),
        (FLOATS * 255, ["255", "divide"]),
        ((FLOATS - 0.45) / 0.22, ["normalized"]),
        (FLOATS * 2.9 - 1, ["normalized"]),
        (np.where(FLOATS > 0.9, np.nan, FLOATS), ["NaN"]),
        (np.where(FLOATS > 0.9, np.inf, FLOATS), ["inf"]),
        (PIXELS.astype(np.int64), ["int64", "astype(np.uint8)"]),
        (PIXELS > 100, ["bool", "* 255"]),
        (PIXELS * 1j, ["complex"]),
        (PIXELS.transpose(0, 3, 1, 2), ["[N, C, H, W]", "transpose(0, 2, 3, 1)"]),
        (PIXELS[0, 0], ["[N, H, W]", "[5, 3]"]),
        (PIXELS[None], ["[1, 50, 6, 5, 3]"]),
        (PIXELS[:0], ["[0, 6, 5, 3]"]),
        (PIXELS[:, :0], ["[50, 0, 5, 3]"]),
        (np.array([PIXELS[0], PIXELS[1, :3]], dtype=object), ["object", "np.stack"]),
        ([PIXELS[0], PIXELS[1, :3]], ["list", "np.stack"]),
        (np.array(["a", "b"]), ["[N, H, W]"]),
    ],
)
def test_wrong_images(images, parts):
    message = the_error(images)
    assert "train_images" in message
    for part in parts:
        assert part in message
    assert "test_images" in the_error(PIXELS, None, images)


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (LABELS[:49], ["[50]", "[49]"]),
        (np.eye(7)[LABELS], ["one-hot", "argmax"]),
        (np.eye(7, dtype=np.int32)[LABELS], ["one-hot", "argmax"]),
        (LABELS.astype(np.float32), ["float32", "astype(np.int32)"]),
        (LABELS - 1, ["-1"]),
        (LABELS + 2**31, ["2147483654"]),
        (LABELS.astype(str), ["integers"]),
        (np.array([None] * 50), ["object"]),
        (7, ["shape"]),
    ],
)
def test_wrong_labels(labels, parts):
    message = the_error(PIXELS, labels)
    assert "train_labels" in message
    for part in parts:
        assert part in message
    assert "test_labels" in the_error(PIXELS, LABELS, PIXELS, labels)


def test_splits_that_do_not_belong_together():
    assert "float32 [N, 6, 5, 3]" in the_error(PIXELS, None, FLOATS)
    assert "uint8 [N, 6, 4, 3]" in the_error(PIXELS, None, PIXELS[:, :, :4])
    assert "no test_labels" in the_error(PIXELS, LABELS, PIXELS)
    assert "no train_labels" in the_error(PIXELS, None, PIXELS, LABELS)
    assert "test_images beside test_labels" in the_error(PIXELS, LABELS, None, LABELS)


def test_remedies_work():
    """What the messages advise is taken."""
    data.from_arrays((FLOATS * 2 - 1 + 1) / 2)
    data.from_arrays(FLOATS * 255 / 255)
    data.from_arrays((PIXELS > 100).astype(np.uint8) * 255)
    data.from_arrays(PIXELS, np.eye(7)[LABELS].argmax(axis=1))
    channels_first = PIXELS.transpose(0, 3, 1, 2)[:, :, :5].repeat(2, 3)
    data.from_arrays(channels_first.transpose(0, 2, 3, 1))


def test_check_finds_what_a_dataset_made_by_hand_holds():
    good = Split(FLOATS, LABELS)
    data.check(Dataset("mine", {"train": good, "test": good}, ""))
    for bad in (
        Split(FLOATS * 255, LABELS),
        Split(FLOATS, LABELS - 1),
        Split(FLOATS[:49], LABELS),
        Split(FLOATS[:, 1:], LABELS),
        Split(PIXELS, LABELS),
    ):
        with pytest.raises(UserError, match="test_"):
            data.check(Dataset("mine", {"train": good, "test": bad}, ""))


def test_the_example_of_the_documentation():
    page = Path(__file__).parents[1] / "docs" / "data.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0
