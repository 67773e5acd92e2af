import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen import images


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def dark_share(path: Path, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> float:
    """The share of clearly non-white pixels in a box (left, top, right, bottom as fractions)."""
    pixels = np.asarray(Image.open(path).convert("RGB")).min(axis=-1)
    height, width = pixels.shape
    left, top, right, bottom = box
    part = pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    return float((part < 200).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("columns", "padding"), [(3, 2), (4, 0), (7, 5), (1, 1)])
def test_grid_places_every_pixel(channels: int, columns: int, padding: int):
    cells = draw(7, 5, 4, channels)
    picture = images.grid(cells, columns, padding)
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
    assert images.grid(np.zeros((count, 1, 1, 1), np.uint8), padding=0).shape[1] == columns


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_floats_are_rounded_to_the_nearest_byte(make: Any):
    values = np.asarray([0.0, 0.4 / 255, 0.6 / 255, 0.5, 254.6 / 255, 1.0], np.float32)
    picture = images.grid(make(values.reshape(1, 1, 6, 1)), padding=0)
    assert picture.dtype == np.uint8
    assert picture.ravel().tolist() == [0, 0, 1, 128, 255, 255]


def test_bytes_survive_the_way_through_floats_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = jnp.asarray(levels, jnp.float32) / 255
    np.testing.assert_array_equal(images.grid(floats, padding=0), levels[0])
    assert images.grid(jnp.ones((1, 2, 2, 1), jnp.bfloat16), padding=0).min() == 255


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
        images.grid(bad)
    with pytest.raises(ValueError, match="expected"):
        images.save(tmp_path / "new" / "picture.png", bad[0] if len(bad) else bad)
    assert list(tmp_path.iterdir()) == []


def test_grid_refuses_an_impossible_layout():
    with pytest.raises(ValueError, match="columns >= 1"):
        images.grid(draw(2, 3, 3, 1), columns=-1)
    with pytest.raises(ValueError, match="padding >= 0"):
        images.grid(draw(2, 3, 3, 1), padding=-1)


@pytest.mark.parametrize(("count", "columns", "default"), [(5, 2, False), (3, 3, True)])
def test_pairs_touch_and_rows_are_apart(count: int, columns: int, default: bool):
    originals, reconstructions = draw(count, 4, 3, 3), draw(count, 4, 3, 3, seed=1)
    picture = images.pairs(originals, reconstructions, None if default else columns, padding=1)
    rows = -(-count // columns)
    expected = np.full((rows * 12 - 4 + 2, columns * 4 + 1, 3), 255, np.uint8)
    for n in range(count):
        y, x = 1 + n // columns * (8 + 4), 1 + n % columns * 4
        expected[y : y + 4, x : x + 3] = originals[n]
        expected[y + 4 : y + 8, x : x + 3] = reconstructions[n]
    np.testing.assert_array_equal(picture, expected, strict=True)


def test_pairs_default_to_one_row_of_ten_and_a_square_of_more():
    assert images.pairs(draw(10, 2, 2, 1), draw(10, 2, 2, 1), padding=0).shape == (4, 20, 1)
    assert images.pairs(draw(64, 2, 2, 1), draw(64, 2, 2, 1), padding=0).shape == (16, 32, 1)
    with pytest.raises(ValueError, match="one shape"):
        images.pairs(draw(2, 4, 4, 1), draw(3, 4, 4, 1))


def test_enlarge_repeats_pixels():
    image = draw(3, 2, 3)
    large = images.enlarge(image, 4)
    assert large.shape == (12, 8, 3)
    for y in range(12):
        for x in range(8):
            np.testing.assert_array_equal(large[y, x], image[y // 4, x // 4])


@pytest.mark.parametrize("channels", [1, 3])
def test_saved_pixels_are_the_pixels(channels: int, tmp_path: Path):
    picture = draw(9, 11, channels)
    path = tmp_path / "deep" / "er" / "picture.png"
    for _ in range(2):  # the second replaces the first
        images.save(path, picture)
    with Image.open(path) as file:
        assert (file.format, file.mode) == ("PNG", "L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(file).reshape(picture.shape), picture)
    assert list(path.parent.iterdir()) == [path]
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_failed_save_leaves_the_file_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "picture.png"
    images.save(path, draw(4, 4, 1))
    before = path.read_bytes()

    def fail(self: Any, file: Path, **_: Any) -> None:
        Path(file).write_bytes(b"half a pic")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        images.save(path, draw(4, 4, 1, seed=1))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("channels", [1, 3])
def test_captions_stand_below_untouched_enlarged_images(channels: int):
    cells = draw(20, 28, 28, channels)
    captions = ["\N{MINUS SIGN}1.05\N{GREEK SMALL LETTER SIGMA} → 3", "", "wide " * 4] + ["9"] * 17
    picture = images.captioned(cells, captions, columns=5)
    height, side = 112 + 22, 112  # 28 pixels times 4, and a line of text
    assert picture.shape == (4 * (height + 10) + 10, 5 * (side + 10) + 10, channels)
    ink = []
    for n in range(20):
        y, x = 10 + n // 5 * (height + 10), 10 + n % 5 * (side + 10)
        np.testing.assert_array_equal(
            picture[y : y + side, x : x + side], images.enlarge(cells[n], 4)
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
        images.captioned(cells[:2], ["one"])


@pytest.mark.parametrize(
    "series",
    [
        {"train": [-164.0, -120.0, -105.0], "test": [-150.0, -118.0, -106.0]},
        {"train": [-164.0]},
        {"train": [1.0, np.nan, np.inf, 2.0], "test": [np.nan] * 4},
        {"train": jnp.asarray([3.0, 2.0])},
    ],
    ids=["two", "one epoch", "not finite", "jax"],
)
def test_curves_are_drawn(series: Any, tmp_path: Path):
    path = tmp_path / "images" / "elbo.png"
    images.curves(path, series, "epoch", "ELBO (nats per image)", "vae_mnist")
    assert dark_share(path, (0.15, 0.1, 1, 0.85)) > 1e-3
    assert dark_share(path, (0, 0.2, 0.05, 0.8)) > 1e-3  # the label of the y axis
    assert dark_share(path, (0.4, 0.93, 0.7, 1)) > 1e-3  # the label of the x axis
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("classes", [None, 1, 10, 102])
def test_scatter_is_drawn(classes: int | None, tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(400, 2))
    labels = None if classes is None else np.arange(400) % classes
    path = tmp_path / "map.png"
    images.scatter(path, jnp.asarray(points), labels, "latent means")
    assert dark_share(path, (0.2, 0.2, 0.7, 0.8)) > 0.02
    assert (dark_share(path, (0.9, 0.1, 1, 0.9)) > 2e-4) == (classes is not None)  # the legend
    again = tmp_path / "again.png"
    images.scatter(again, points, labels, "latent means")
    first, second = (np.asarray(Image.open(file)).astype(int) for file in (path, again))
    # The layout solver's last bits differ from call to call; another order of points shows at once.
    assert np.abs(first - second).max() <= 2


def test_scatter_colours_by_label(tmp_path: Path):
    """Two clusters, each in the first or second colour of the palette wherever it is drawn."""
    points = np.concatenate([np.full((50, 2), -1.0), np.full((50, 2), 1.0)])
    points = points + np.random.default_rng(0).normal(size=points.shape) / 10
    path = tmp_path / "map.png"
    images.scatter(path, points, np.repeat([3, 8], 50))
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    low = pixels[height // 2 :, : width // 2].reshape(-1, 3)
    high = pixels[: height // 2, width // 3 : width * 4 // 5].reshape(-1, 3)
    coloured = [part[part.max(axis=1) - part.min(axis=1) > 60] for part in (low, high)]
    assert len(coloured[0]) > 100
    assert len(coloured[1]) > 100
    assert (coloured[0].argmax(axis=1) == 2).mean() > 0.95  # blue
    assert (coloured[1].argmax(axis=1) == 0).mean() > 0.95  # orange


def test_scatter_refuses_other_shapes(tmp_path: Path):
    with pytest.raises(ValueError, match=r"expected points \[N, 2\], got \[5, 3\]"):
        images.scatter(tmp_path / "map.png", np.zeros((5, 3)))
    with pytest.raises(ValueError, match="5 points need labels"):
        images.scatter(tmp_path / "map.png", np.zeros((5, 2)), np.zeros(4, int))


def test_principal_components_against_the_covariance():
    mixing = np.random.default_rng(1).normal(size=(6, 6))
    latents = np.random.default_rng(0).normal(size=(500, 6)) @ mixing + 3
    projected = images.principal_components(jnp.asarray(latents, jnp.float32), 3)
    variances, directions = np.linalg.eigh(np.cov(latents.T))
    # Float32 input: coordinates of size 10 carry rounding of about 1e-6.
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(projected.var(axis=0, ddof=1), variances[::-1][:3], rtol=1e-5)
    for n in range(3):
        direction = directions[:, -1 - n]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        expected = (latents - latents.mean(axis=0, keepdims=True)) @ direction
        np.testing.assert_allclose(projected[:, n], expected, atol=1e-4)


def test_principal_components_of_too_little():
    line = np.asarray([[1.0], [2.0], [4.0]])
    projected = images.principal_components(line)
    np.testing.assert_allclose(projected, [[-4 / 3, 0], [-1 / 3, 0], [5 / 3, 0]], atol=1e-12)
    assert images.principal_components(np.zeros((1, 5))).tolist() == [[0.0, 0.0]]


def test_neither_import_nor_plotting_loads_pyplot(tmp_path: Path):
    code = f"""
import sys
from jaxgen import images
assert "matplotlib" not in sys.modules
images.curves({str(tmp_path / "a.png")!r}, {{"train": [1.0]}})
images.scatter({str(tmp_path / "b.png")!r}, [[0.0, 1.0]], [3])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_holds_every_pixel_of_every_frame(tmp_path, channels):
    frames = np.random.default_rng(0).integers(0, 256, (5, 9, 7, channels), np.uint8)
    images.animation(tmp_path / "walk", frames, seconds=1.0)
    (path,) = tmp_path.iterdir()
    assert path.suffix == {1: ".gif", 3: ".png"}[channels]
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames") == 5  # noqa: B009
        assert picture.info["loop"] == 0
        for i, frame in enumerate(frames):
            picture.seek(i)
            shown = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
            np.testing.assert_array_equal(shown.reshape(frame.shape), frame)
            assert picture.info["duration"] == (200 if i < 4 else 1200)
