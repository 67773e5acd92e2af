"""The wheel, in an environment that holds nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd, **environment):
    """The output of a command that must succeed, without this process's Python settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the files under version control, built without the files around them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an exported tree, as in .ci/run
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if ".venv" not in p.parts]
    for name in names:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "jaxgen").rglob("*.py")}
    assert {"jaxgen/py.typed", *modules} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"jaxgen"}
    data = [p for p in (ROOT / "jaxgen").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {str(p.relative_to(ROOT)) for p in data} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    code = """
import jax, jaxgen
from jaxgen import data, evaluation, interop, models, runs, systems
learner = systems.vae_mnist(hidden_sizes=(4,), latent_size=2)
print(learner.sample(learner.init(jax.random.key(0)), 3, jax.random.key(1)).shape, jaxgen.__file__)
"""
    printed = run(python, "-c", code, cwd=tmp_path, JAX_PLATFORMS="cpu")
    assert printed.startswith("(3, 28, 28, 1) ")
    assert str(tmp_path / "env") in printed
    help_text = run(python, "-m", "jaxgen", "--help", cwd=tmp_path)
    assert all(command in help_text for command in ("train", "sample", "convert", "versions"))
    jaxgen = tmp_path / "env" / "bin" / "jaxgen"
    assert "jax " in run(jaxgen, "versions", cwd=tmp_path)
    data = tmp_path / "cache"
    small = ["--num-examples", "256", "--num-epochs", "1", "--hidden-sizes", "8"]
    command = [jaxgen, "train", "vae_mnist", "--dataset", "glyphs", *small]
    run(*command, cwd=tmp_path, JAXGEN_CACHE_DIR=str(data), JAX_PLATFORMS="cpu")
    sample = [jaxgen, "sample", "runs/vae_mnist", "--num-samples", "4", "--output", "samples.png"]
    run(*sample, cwd=tmp_path, JAXGEN_CACHE_DIR=str(data), JAX_PLATFORMS="cpu")
    assert (tmp_path / "samples.png").stat().st_size > 100
