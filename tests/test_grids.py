import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen.errors import UserError
from jaxgen.visualization import grids


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("columns", "padding"), [(3, 2), (4, 0), (7, 5), (1, 1)])
def test_grid_places_every_pixel(channels: int, columns: int, padding: int):
    cells = draw(7, 5, 4, channels)
    picture = grids.grid(cells, columns, padding)
    rows = -(-7 // columns)
    expected = np.full(
        (rows * (5 + padding) + padding, columns * (4 + padding) + padding, channels), 255, np.uint8
    )
    for n in range(7):
        y = padding + n // columns * (5 + padding)
        x = padding + n % columns * (4 + padding)
        expected[y : y + 5, x : x + 4] = cells[n]
    np.testing.assert_array_equal(picture, expected, strict=True)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 2), (10, 4), (20, 5), (24, 6), (25, 5), (128, 16)]
)
def test_default_grid_is_near_square_and_full_where_it_can_be(count: int, columns: int):
    assert grids.grid(np.zeros((count, 1, 1, 1), np.uint8), padding=0).shape[1] == columns


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_floats_are_rounded_to_the_nearest_byte(make: Any):
    values = np.asarray([0.0, 0.4 / 255, 0.6 / 255, 0.5, 254.6 / 255, 1.0], np.float32)
    picture = grids.grid(make(values.reshape(1, 1, 6, 1)), padding=0)
    assert picture.dtype == np.uint8
    assert picture.ravel().tolist() == [0, 0, 1, 128, 255, 255]


def test_bytes_survive_the_way_through_floats_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = jnp.asarray(levels, jnp.float32) / 255
    np.testing.assert_array_equal(grids.grid(floats, padding=0), levels[0])
    assert grids.grid(jnp.ones((1, 2, 2, 1), jnp.bfloat16), padding=0).min() == 255


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((1, 2, 2, 1), 1.01), "got values from 1.01 to 1.01"),
        (np.full((1, 2, 2, 1), -0.01), "got values from -0.01"),
        (np.asarray([0.5, np.nan]).reshape(1, 1, 2, 1), "nan"),
        (np.zeros((1, 2, 2, 1), np.int32), "int32"),
        (np.zeros((2, 2, 1)), r"\[N, H, W, 1 or 3\], got \[2, 2, 1\]"),
        (np.zeros((1, 2, 2, 2)), r"\[1, 2, 2, 2\]"),
        (np.zeros((0, 2, 2, 1)), r"\[0, 2, 2, 1\]"),
    ],
)
def test_what_is_no_image_is_refused(bad: np.ndarray, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        grids.grid(bad)
    with pytest.raises(ValueError, match="expected"):
        grids.save(tmp_path / "new" / "picture.png", bad[0] if len(bad) else bad)
    assert list(tmp_path.iterdir()) == []


def test_grid_refuses_an_impossible_layout():
    with pytest.raises(ValueError, match="columns >= 1"):
        grids.grid(draw(2, 3, 3, 1), columns=-1)
    with pytest.raises(ValueError, match="padding >= 0"):
        grids.grid(draw(2, 3, 3, 1), padding=-1)


@pytest.mark.parametrize(("count", "columns", "default"), [(5, 2, False), (3, 3, True)])
def test_pairs_touch_and_rows_are_apart(count: int, columns: int, default: bool):
    originals, reconstructions = draw(count, 4, 3, 3), draw(count, 4, 3, 3, seed=1)
    picture = grids.pairs(originals, reconstructions, None if default else columns, padding=1)
    rows = -(-count // columns)
    expected = np.full((rows * 12 - 4 + 2, columns * 4 + 1, 3), 255, np.uint8)
    for n in range(count):
        y, x = 1 + n // columns * (8 + 4), 1 + n % columns * 4
        expected[y : y + 4, x : x + 3] = originals[n]
        expected[y + 4 : y + 8, x : x + 3] = reconstructions[n]
    np.testing.assert_array_equal(picture, expected, strict=True)


def test_pairs_default_to_one_row_of_ten_and_a_square_of_more():
    assert grids.pairs(draw(10, 2, 2, 1), draw(10, 2, 2, 1), padding=0).shape == (4, 20, 1)
    assert grids.pairs(draw(64, 2, 2, 1), draw(64, 2, 2, 1), padding=0).shape == (16, 32, 1)
    with pytest.raises(ValueError, match="one shape"):
        grids.pairs(draw(2, 4, 4, 1), draw(3, 4, 4, 1))


def test_enlarge_repeats_pixels():
    image = draw(3, 2, 3)
    large = grids.enlarge(image, 4)
    assert large.shape == (12, 8, 3)
    for y in range(12):
        for x in range(8):
            np.testing.assert_array_equal(large[y, x], image[y // 4, x // 4])


@pytest.mark.parametrize("channels", [1, 3])
def test_saved_pixels_are_the_pixels(channels: int, tmp_path: Path):
    picture = draw(9, 11, channels)
    path = tmp_path / "deep" / "er" / "picture.png"
    for _ in range(2):  # the second replaces the first
        grids.save(path, picture)
    with Image.open(path) as file:
        assert (file.format, file.mode) == ("PNG", "L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(file).reshape(picture.shape), picture)
    assert list(path.parent.iterdir()) == [path]
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_save_leaves_the_file_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "picture.png"
    grids.save(path, draw(4, 4, 1))
    before = path.read_bytes()

    def fail(self: Any, file: Path, **_: Any) -> None:
        Path(file).write_bytes(b"half a pic")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match=r"cannot write .*disk full"):
        grids.save(path, draw(4, 4, 1, seed=1))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("channels", [1, 3])
def test_captions_stand_below_untouched_enlarged_images(channels: int):
    cells = draw(20, 28, 28, channels)
    captions = ["\N{MINUS SIGN}1.05\N{GREEK SMALL LETTER SIGMA} → 3", "", "wide " * 4] + ["9"] * 17
    picture = grids.captioned(cells, captions, columns=5)
    height, side = 112 + 22, 112  # 28 pixels times 4, and a line of text
    assert picture.shape == (4 * (height + 10) + 10, 5 * (side + 10) + 10, channels)
    ink = []
    for n in range(20):
        y, x = 10 + n // 5 * (height + 10), 10 + n % 5 * (side + 10)
        np.testing.assert_array_equal(
            picture[y : y + side, x : x + side], grids.enlarge(cells[n], 4)
        )
        picture[y : y + side, x : x + side] = 255
        ink.append(int((picture[y + side : y + height, x : x + side, 0] < 128).sum()))
        picture[y + side : y + height, x : x + side] = 255
    assert (picture == 255).all()  # nothing is drawn outside a cell
    assert ink[1] == 0
    assert ink[0] > ink[3] > 0
    assert ink[2] > 0
    assert len(set(ink[3:])) == 1
    with pytest.raises(ValueError, match="2 images need as many captions, got 1"):
        grids.captioned(cells[:2], ["one"])


@pytest.mark.parametrize(("channels", "suffix"), [(1, ".gif"), (1, ".webp"), (3, ".webp")])
def test_an_animation_holds_every_pixel_of_every_frame(tmp_path, channels, suffix):
    frames = np.random.default_rng(0).integers(0, 256, (5, 9, 7, channels), np.uint8)
    grids.animation(tmp_path / "walk", frames, seconds=1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.gif", "walk.webp"]
    with Image.open(tmp_path / f"walk{suffix}") as picture:
        assert getattr(picture, "n_frames") == 5  # noqa: B009
        assert picture.info["loop"] == 0
        for i, frame in enumerate(frames):
            picture.seek(i)
            picture.load()
            shown = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
            np.testing.assert_array_equal(shown.reshape(frame.shape), frame)
            assert picture.info["duration"] == (200 if i < 4 else 1200)


def test_a_picture_is_enlarged_until_it_can_be_read():
    small, large = np.arange(12, dtype=np.uint8).reshape(3, 4, 1), np.zeros((2, 900, 3), np.uint8)
    legible = grids.legible(small)
    assert legible.shape == (480, 640, 1)
    np.testing.assert_array_equal(legible[::160, ::160], small)
    assert grids.legible(large).shape == large.shape


def test_strips_show_every_row_at_one_height():
    small, large = draw(3, 8, 8, 1), draw(2, 64, 64, 3)
    picture = grids.strips({"small": small, "large": large}, side=24)
    left = grids.CAPTION_WIDTH + 2
    assert picture.shape == (2 * (24 + 4) + 4, left + 3 * 24 + 2 * 2 + 2, 3)
    # Eight pixels are enlarged three times, without smoothing.
    first = picture[4:28, left : left + 24]
    np.testing.assert_array_equal(first[::3, ::3], small[0].repeat(3, axis=-1))
    # Of sixty-four, each pixel is a mean.
    second = picture[32:56, left : left + 24].astype(float)
    assert second.mean() == pytest.approx(large[0].mean(), abs=1)
