"""The drawn digits: balanced, repeatable, varied, placed as in MNIST, and legible."""

import numpy as np
import pytest
from PIL import ImageFont

from jaxgen.data.readers import glyphs
from jaxgen.data.storage.fingerprints import fingerprint


@pytest.fixture(scope="module")
def splits():
    return glyphs.draw(num_train=3000, num_test=500)


def test_shapes_and_balance(splits):
    for name, number in (("train", 3000), ("test", 500)):
        images, labels = splits[name]
        assert images.shape == (number, 28, 28, 1)
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert labels.dtype == np.int32
        assert np.bincount(labels).tolist() == [number // 10] * 10
        # Not in turn: a run of labels is as in any random order.
        assert 0.07 < np.mean(labels[1:] == labels[:-1]) < 0.13


def test_the_seed_decides():
    first = fingerprint(glyphs.draw(300, 50, seed=1))
    assert fingerprint(glyphs.draw(300, 50, seed=1)) == first
    assert fingerprint(glyphs.draw(300, 50, seed=2)) != first


def test_splits_are_drawn_independently():
    train, test = glyphs.draw(100, 100).values()
    assert (train.labels != test.labels).any()
    assert not {image.tobytes() for image in train.images} & {i.tobytes() for i in test.images}


def test_threads_do_not_matter(monkeypatch):
    many = fingerprint(glyphs.draw(600, 50, seed=1))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert fingerprint(glyphs.draw(600, 50, seed=1)) == many


def test_no_image_twice(splits):
    images = np.concatenate([splits["train"].images, splits["test"].images])
    assert len({image.tobytes() for image in images}) == len(images)


def test_size_and_place_as_in_mnist(splits):
    images = splits["train"].images[..., 0] / 255
    ink = images.sum((1, 2))
    assert ink.min() > 15  # none empty: a stroke of one pixel along the box has 20
    assert 25 < 255 * images.mean() < 45  # MNIST: 33.3
    where = np.arange(28) + 0.5
    for axis in (1, 2):
        profile = images.sum(axis)
        centre = (profile * where).sum(1) / ink
        assert abs(centre.mean() - 14) < 0.2
        assert (centre - 14).std() < 0.6
        assert abs(centre - 14).max() < 2.6  # sevens: their centre of mass is high
    rows, columns = (images.max(axis) > 0.5 for axis in (2, 1))
    extent = [28 - line.argmax(1) - line[:, ::-1].argmax(1) for line in (rows, columns)]
    longest = np.maximum(*extent)
    assert 18.5 < longest.mean() < 20.5
    assert longest.max() <= 23
    assert longest.min() >= 16
    frame = np.ones((28, 28), bool)
    frame[1:-1, 1:-1] = False
    assert images[:, frame].max() < 0.5  # none clipped


def test_edges_are_antialiased(splits):
    images = splits["train"].images
    grey = (images > 20) & (images < 235)
    assert 0.05 < grey.mean() < 0.2


def test_every_digit_can_be_told(splits):
    # A nearest-neighbour classifier is a crude reader; a person does better.
    train, test = splits["train"], splits["test"]
    a, b = (s.images.reshape(len(s.images), -1).astype(np.float32) / 255 for s in (test, train))
    distances = (b * b).sum(1)[None, :] - 2 * a @ b.T
    right = train.labels[distances.argmin(1)] == test.labels
    assert right.mean() > 0.93
    for digit in range(10):
        assert right[test.labels == digit].mean() > 0.8


def test_digits_of_a_label_vary(splits):
    images, labels = splits["train"]
    for digit in range(10):
        pixels = images[labels == digit].reshape(-1, 784) / 255
        # MNIST has 39 to 55, and 22 for the ones.
        assert pixels.var(0).sum() > 20


def test_every_font_has_its_digits():
    drawn = glyphs._read_fonts()
    assert len(drawn.fields) == 10 * len(glyphs.FONTS)
    assert np.isfinite(drawn.fields).all()
    assert drawn.fields.max((1, 2)).min() > 1  # ink in every one
    # Ten different digits in a font, and different fonts of a digit.
    shapes = (drawn.fields > 0).reshape(len(glyphs.FONTS), 10, -1)
    for font in shapes:
        assert len({digit.tobytes() for digit in font}) == 10
    for digit in shapes.transpose(1, 0, 2):
        assert len({font.tobytes() for font in digit}) == len(glyphs.FONTS)


def test_distances_agree_with_brute_force():
    rng = np.random.default_rng(0)
    side = glyphs._FIELD * glyphs._SUPERSAMPLING
    y, x = np.mgrid[:side, :side]
    mask = (x - 130) ** 2 + (y - 120) ** 2 < 40**2
    mask |= (abs(x - 60) < 9) & (abs(y - 190) < 30)
    (field,) = glyphs._signed_distances(mask[None])
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    reach = glyphs._REACH * glyphs._SUPERSAMPLING
    for row, column in rng.integers(0, glyphs._FIELD, (60, 2)):
        place = glyphs._SUPERSAMPLING * np.array([row, column]) + glyphs._SUPERSAMPLING // 2
        others, sign = (outside, 1) if mask[tuple(place)] else (inside, -1)
        distance = min(np.sqrt(((others - place) ** 2).sum(1)).min(), reach)
        expected = sign * (distance - 0.5) / glyphs._SUPERSAMPLING
        np.testing.assert_allclose(field[row, column], expected, atol=1e-5)


def test_splines_sum_to_one_and_are_smooth():
    # Cubic B-splines are a partition of unity and reproduce lines between the outer knots.
    position = np.linspace(-15, 15, 301).astype(np.float32)
    weights = glyphs._splines(position)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    knots = (np.arange(glyphs._KNOTS) - (glyphs._KNOTS - 1) / 2) * glyphs._KNOT_DISTANCE
    np.testing.assert_allclose(weights @ knots, position, atol=1e-4)


def test_points_are_carried_where_pixels_are_drawn():
    # u + d(u) = forward p, to a third of a pixel at worst.
    drawn = glyphs._read_fonts()
    warps = glyphs._draw_warps(
        np.arange(400, dtype=np.int32) % 10, len(glyphs.FONTS), np.random.default_rng(0)
    )
    points = drawn.outlines[warps.glyphs]
    u = glyphs._carry(points, warps)
    columns, rows = glyphs._splines(u[..., 0]), glyphs._splines(u[..., 1])
    d = np.einsum("nka,niab,nkb->nki", rows, warps.displacements, columns)
    miss = np.linalg.norm(u + d - points @ warps.forward.transpose(0, 2, 1), axis=-1)
    assert np.median(miss) < 0.01
    assert np.quantile(miss, 0.999) < 0.4


def test_the_fonts_are_those_of_matplotlib():
    import matplotlib

    folder = matplotlib.get_data_path() + "/fonts/ttf/"
    for font in glyphs.FONTS:
        assert ImageFont.truetype(f"{folder}{font}.ttf", 20).getlength("0") > 0
