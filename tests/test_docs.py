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

# The data are few images of noise in place of MNIST.
BEFORE = """
import numpy as np
from jaxgen import data
pixels = np.random.default_rng(0).integers(0, 256, (300, 28, 28, 1)).astype(np.uint8)
small = data.from_arrays(pixels, None, pixels[:20], name="mnist")
data.load = lambda name: small
"""
AFTER = """
assert len(jax.devices()) == 2
assert len(members) == 16
assert [run.config["beta"] for run in members[::4]] == [0.5, 1.0, 2.0, 4.0]
member = members[7]
alone = runs.fit(
    systems.vae_mnist(beta=1.0), small, num_epochs=2, workdir="runs/alone", seed=3, pictures=False
)
for own, record in zip(member.history, alone.history, strict=True):
    np.testing.assert_allclose(own["test/loss"], record["test/loss"], rtol=1e-5)
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
def test_members_on_two_devices_are_runs_by_themselves(tmp_path):
    text = (ROOT / "docs" / "runs.md").read_text()
    section = text[text.index("## Many runs at once") :]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    before, setting = block.split("from jaxgen import", 1)
    done = subprocess.run(
        [sys.executable, "-c", before + BEFORE + "from jaxgen import" + setting + AFTER],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
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
