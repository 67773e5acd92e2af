"""Recorded PyTorch trajectories, replayed without PyTorch (benchmarks/golden.py records them)."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from marks import slow_but

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs, trajectories

pytestmark = pytest.mark.usefixtures("quick_compilation")
FOLDER = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", slow_but({"vae_mnist"}, pairs.SMALL))
def test_five_steps_are_those_of_pytorch(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        golden = dict(file)
    sizes, num_steps, batch_size = pairs.SMALL[name], 5, 8
    with jax.enable_x64(True):
        key = trajectories.key_of(0)
        noise = trajectories.noise_of(name, sizes, key, batch_size, np.float64)
    np.testing.assert_allclose(
        noise,
        golden.pop("noise"),
        rtol=1e-6,
        err_msg="jax samples different noise: record the golden files again",
    )
    images = trajectories.images_of(
        sizes, num_steps * trajectories.images_per_step(name, batch_size)
    )
    start = trajectories.start_of(name, sizes)
    got = trajectories.run(name, sizes, start, images, batch_size=batch_size, num_steps=num_steps)
    replayed = {
        f"{field}/{key}": value
        for field in ("losses", "outputs", "weights")
        for key, value in getattr(got, field).items()
    }
    assert replayed.keys() == golden.keys()
    for key, wanted in golden.items():
        # Weights and outputs were rounded to float32, losses were not.
        rtol, atol = (1e-9, 0.0) if key.startswith("losses") else (1e-6, 1e-7)
        np.testing.assert_allclose(replayed[key], wanted, rtol, atol, err_msg=key)
