"""The quick start, followed as printed: its commands and snippets, in order, in one folder.

Only budgets are reduced, and only where the page has the number that is replaced.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
SECTIONS = {part.splitlines()[0]: part for part in PAGE.split("\n## ")[1:]}

# Each must stand on the page; a text that has changed fails here and not silently.
SMALLER = {
    "--num-epochs 15": "--num-epochs 1 --num-examples 1280",
    "in keys:": "in keys[:1]:",
    "num_epochs=20": "num_epochs=2",
}
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)


def smaller(text: str) -> str:
    for printed, reduced in SMALLER.items():
        text = text.replace(printed, reduced)
    return text


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder with what the commands of the page need of a clone."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def python(section: str, folder: Path, **environment: str) -> str:
    """Runs the snippets of a section as one program, and gives what they print."""
    program = folder / "snippets.py"
    program.write_text("\n".join(map(smaller, blocks(section, "python"))))
    return run([sys.executable, str(program)], folder, **environment)


def test_budgets_to_reduce_are_on_the_page():
    for printed in SMALLER:
        assert PAGE.count(printed) == 1, printed
    assert list(SECTIONS) == [
        "Install",
        "MNIST digits",
        "Your own data, networks and optimizer",
        "Weights from PyTorch",
        "Where next",
    ]


@pytest.mark.slow
def test_the_command_for_mnist(real_data: Path, clone: Path):
    (command,) = blocks("MNIST digits", "sh")
    words = smaller(command).replace(".venv/bin/python", sys.executable).split()
    run(words, clone, TFDS_DATA_DIR=str(real_data / "tfds"))
    assert len((clone / "runs/vae_mnist/metrics.jsonl").read_text().splitlines()) == 1
    assert list((clone / "runs/vae_mnist/images").glob("samples-*.png"))


@pytest.mark.slow
def test_mnist_from_python(real_data: Path, clone: Path):
    printed = python("MNIST digits", clone, TFDS_DATA_DIR=str(real_data / "tfds"))
    loss = float(printed.splitlines()[0])
    assert 140 < loss < 200  # nats per image, after one epoch of 15
    assert "'elbo'" in printed
    assert pixels(clone / "digits.png").shape[1] > 8 * 28


@pytest.mark.slow
def test_own_data_and_networks(clone: Path):
    python("Your own data, networks and optimizer", clone)
    assert len((clone / "runs/discs/metrics.jsonl").read_text().splitlines()) == 2
    assert pixels(clone / "discs.png").std() > 0


@needs_torch
def test_weights_from_pytorch(clone: Path):
    python("Weights from PyTorch", clone)
    assert (clone / "vae_mnist.pt").exists()


@pytest.mark.slow
def test_the_installation(tmp_path: Path):
    """The first section, in a copy of the files under version control."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = done.stdout.split() or ["pyproject.toml", "README.md", "LICENSE"]
    for name in names:
        if name.startswith(("jaxgen/", "pyproject", "README", "LICENSE")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    if not done.stdout:
        shutil.copytree(ROOT / "jaxgen", tmp_path / "jaxgen")
    (commands,) = blocks("Install", "sh")
    for command in commands.splitlines():
        words = command.replace("python -m venv", f"{sys.executable} -m venv").split()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        subprocess.run(words, cwd=tmp_path, env=clean, check=True, timeout=900)
    python = tmp_path / ".venv" / "bin" / "python"
    subprocess.run([str(python), "-c", "import jaxgen"], cwd=tmp_path / ".venv", check=True)
