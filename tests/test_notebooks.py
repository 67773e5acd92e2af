"""The notebooks run from the first cell to the last on a small budget, and are stored empty."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "experiments" / "notebooks").glob("*.ipynb"))

# In place of the values in the cell tagged "parameters".
BUDGET = {"num_epochs": 2, "num_examples": 256, "num_images": 200, "dataset_name": "glyphs"}


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def program(path: Path) -> str:
    """All cells as one program; magics need a kernel, and install what is installed here."""
    sources = []
    for cell in cells(path):
        source = "".join(cell["source"]).replace("%pip", "pass  # %pip")
        if "parameters" in cell["metadata"].get("tags", ()):
            names = [node.targets[0].id for node in ast.parse(source).body]  # pyright: ignore
            source = "\n".join(f"{name} = {BUDGET[name]!r}" for name in names)
        sources.append(source)
    return "\n\n".join(sources)


def test_there_is_one_for_each_way_of_use():
    names = [path.stem for path in NOTEBOOKS]
    assert names == ["from_pytorch", "gan", "own_data_and_networks", "vae_mnist"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    assert all(cell["outputs"] == [] for cell in cells(path))
    assert all(cell["execution_count"] is None for cell in cells(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_of_code_installs_jaxgen_on_colab(path):
    first = "".join(cells(path)[0]["source"])
    assert 'find_spec("jaxgen") is None' in first
    assert "%pip install" in first
    assert cells(path, "markdown")[0]["source"][0].startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    if path.stem == "from_pytorch":
        pytest.importorskip("torch")
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"JAXGEN_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": root}
    done = subprocess.run(
        # A picture that a cell shows is left open without a kernel to show it.
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", program(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
