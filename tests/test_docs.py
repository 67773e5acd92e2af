"""Code in the documentation runs and does what the text around it says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

BEFORE = """
import numpy as np
import pytest
from jaxgen import systems

learner = systems.vae_mnist(image_shape=(4, 4, 1), hidden_sizes=(6,), latent_size=2, batch_size=8)
images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
"""

AFTER = """
assert len(metrics["loss"].sharding.device_set) == 2
assert metrics["loss"].shape == (8, 3)
for i in range(8):
    state, alone = learner.epoch(learner.init(keys[i]), images, keys[i])
    # The same program in a loop; the shuffle and the noise are bits of the seed's own key.
    np.testing.assert_allclose(metrics["loss"][i], alone["loss"], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(states.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5)
"""


def test_the_tests_of_every_guarantee_exist():
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", text)
    rows = [line for line in text.splitlines() if line.startswith("|") and ".py" in line]
    assert len(rows) > 30
    assert len(named) >= len(rows)
    for file, name in named:
        source = (ROOT / "tests" / file).read_text()
        assert not name or f"def {name}(" in source, f"{file}::{name}"


@pytest.mark.slow
def test_many_seeds_on_two_devices_are_the_seeds_one_by_one():
    text = (ROOT / "docs" / "runs.md").read_text()
    section = text[text.index("## Many seeds at once") :]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + block + AFTER],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_your_own_networks_data_and_loop(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "your-own.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert len([line for line in code.splitlines() if line.strip()]) < 60
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "your-own.md", "exec"), names)

    printed = capsys.readouterr().out
    own, fitted = (float(loss) for loss in re.findall(r"loss (\d+\.\d) nats per image", printed))
    assert fitted < own < 144 * np.log(2)  # of a decoder that has learned nothing
    assert names["drawn"].shape == (16, 12, 12, 1)
    # Boxes that were never seen, from four numbers each.
    held_out = names["dataset"].test.images / 255
    error = np.abs(np.asarray(names["reconstructions"]) - held_out).mean()
    assert error < 0.6 * np.abs(held_out - held_out.mean(axis=0)).mean()
    assert {path.name for path in (tmp_path / "runs/boxes/images").iterdir()} >= {
        "samples-010.png",
        "reconstructions-010.png",
        "elbo.png",
    }
