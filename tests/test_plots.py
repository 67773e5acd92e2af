import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen.visualization import _colors, plots

LEAST_DISTANCE = 0.1  # in sRGB; a tenth of the way from black to a primary colour


def dark_share(path: Path, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> float:
    """The share of clearly non-white pixels in a box (left, top, right, bottom as fractions)."""
    pixels = np.asarray(Image.open(path).convert("RGB")).min(axis=-1)
    height, width = pixels.shape
    left, top, right, bottom = box
    part = pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    return float((part < 200).mean())


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
    plots.curves(path, series, "epoch", "ELBO (nats per image)", "vae_mnist")
    assert dark_share(path, (0.15, 0.1, 1, 0.85)) > 1e-3
    assert dark_share(path, (0, 0.2, 0.05, 0.8)) > 1e-3  # the label of the y axis
    assert dark_share(path, (0.4, 0.93, 0.7, 1)) > 1e-3  # the label of the x axis
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("classes", [None, 1, 10, 102])
def test_scatter_is_drawn(classes: int | None, tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(400, 2))
    labels = None if classes is None else np.arange(400) % classes
    path = tmp_path / "map.png"
    plots.scatter(path, jnp.asarray(points), labels, "latent means")
    assert dark_share(path, (0.2, 0.2, 0.7, 0.8)) > 0.02
    assert (dark_share(path, (0.9, 0.1, 1, 0.9)) > 2e-4) == (classes is not None)  # the legend
    again = tmp_path / "again.png"
    plots.scatter(again, points, labels, "latent means")
    first, second = (np.asarray(Image.open(file)).astype(int) for file in (path, again))
    # The layout solver's last bits differ from call to call; another order of points shows at once.
    assert np.abs(first - second).max() <= 2


def test_scatter_colours_by_label(tmp_path: Path):
    """Two clusters, each in the first or second colour of the palette wherever it is drawn."""
    points = np.concatenate([np.full((50, 2), -1.0), np.full((50, 2), 1.0)])
    points = points + np.random.default_rng(0).normal(size=points.shape) / 10
    path = tmp_path / "map.png"
    plots.scatter(path, points, np.repeat([3, 8], 50))
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
        plots.scatter(tmp_path / "map.png", np.zeros((5, 3)))
    with pytest.raises(ValueError, match="5 points need labels"):
        plots.scatter(tmp_path / "map.png", np.zeros((5, 2)), np.zeros(4, int))


def test_principal_components_against_the_covariance():
    mixing = np.random.default_rng(1).normal(size=(6, 6))
    latents = np.random.default_rng(0).normal(size=(500, 6)) @ mixing + 3
    projected = plots.principal_components(jnp.asarray(latents, jnp.float32), 3)
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
    projected = plots.principal_components(line)
    np.testing.assert_allclose(projected, [[-4 / 3, 0], [-1 / 3, 0], [5 / 3, 0]], atol=1e-12)
    assert plots.principal_components(np.zeros((1, 5))).tolist() == [[0.0, 0.0]]


def test_neither_import_nor_plotting_loads_pyplot(tmp_path: Path):
    code = f"""
import sys
from jaxgen.visualization import grids, plots
assert "matplotlib" not in sys.modules
plots.curves({str(tmp_path / "a.png")!r}, {{"train": [1.0]}})
plots.scatter({str(tmp_path / "b.png")!r}, [[0.0, 1.0]], [3])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bars_are_as_high_as_their_values(tmp_path, monkeypatch):
    drawn = []

    def keep(figure, path):
        drawn.append(figure.axes[0])

    monkeypatch.setattr(plots, "write", keep)
    plots.bars(tmp_path / "b.png", {"a": [3.0, 1.0, 0.0], "b": [0.0, 0.0, 0.5]}, title="t")
    (axes,) = drawn
    heights = [[bar.get_height() for bar in container] for container in axes.containers]
    assert heights == [[3.0, 1.0, 0.0], [0.0, 0.0, 0.5]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


@pytest.mark.parametrize("colors", [_colors.CLASS_COLORS, _colors.LINE_COLORS])
def test_colours_are_told_apart_without_green_or_red_cones(colors):
    # Machado et al. (2009): what is seen without the cones for middle or for long waves.
    deuteranopia = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    protanopia = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    values = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors]) / 255
    for seen in (deuteranopia, protanopia):
        shown = np.clip(values**2.2 @ np.transpose(seen), 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(shown[:, None] - shown[None], axis=-1)
        assert distances[~np.eye(len(colors), dtype=bool)].min() > LEAST_DISTANCE
