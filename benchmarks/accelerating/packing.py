"""A folder of what a machine with JAX and PyTorch may still lack, for one without network."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

# As an image for GPUs often has them; --no-deps below takes nothing else along.
THERE = {"jax", "flax", "optax", "numpy", "matplotlib", "pillow", "requests", "tqdm", "flatbuffers"}
BENEATH = ("typeguard", "shtab")  # what tyro needs
PYTHON = "3.12"
SYSTEMS = [f"manylinux_2_{minor}_x86_64" for minor in (17, 27, 28)] + ["manylinux2014_x86_64"]


def wanted(project: Path) -> list[str]:
    """Requirements of jaxgen that are not in THERE."""
    names = tomllib.loads(project.read_text())["project"]["dependencies"]
    return [n for n in names if re.split(r"[\[<>=!~ ]", n)[0].lower() not in THERE] + list(BENEATH)


def command(folder: Path, project: Path) -> list[str]:
    """The words that download wheels."""
    systems = [word for system in SYSTEMS for word in ("--platform", system)]
    fixed = ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, *systems]
    pip = [sys.executable, "-m", "pip", "download"]
    return [*pip, "--implementation", "cp", *fixed, "-d", str(folder), *wanted(project)]


def pack(folder: Path, root: Path) -> None:
    """Downloads wheels and lists them; images need not travel, they are made from a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command(folder, root / "pyproject.toml"), check=True)
    describe(folder, root / "pyproject.toml")
    wheels = sorted(path.name for path in folder.glob("*.whl"))
    (folder / "wheels.txt").write_text("".join(f"{name}\n" for name in wheels))
    print(f"{len(wheels)} wheels in {folder}. There, in the project's folder:")
    print(f"  pip install --no-index --no-deps --target site {folder}/*.whl")
    print(f"  PYTHONPATH=site:{folder}:. python benchmarks/accelerator.py")


def describe(folder: Path, project: Path) -> None:
    """Metadata with which jaxgen runs uninstalled: it looks its own version up."""
    version = tomllib.loads(project.read_text())["project"]["version"]
    about = folder / f"jaxgen-{version}.dist-info"
    about.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: jaxgen\nVersion: {version}\n"
    (about / "METADATA").write_text(text)
