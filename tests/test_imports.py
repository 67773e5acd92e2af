"""What importing costs, and which module may import which."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgen

PACKAGE = Path(jaxgen.__file__).parent
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "jaxgen."))

# Who may lean on whom: a module may import what stands above it, and its own package.
ORDER = """
    errors _published _files _streams _process _matplotlib _checks types convolutions networks
    transforms models learners systems data evaluation visualization interop runs _commands
""".split()

PROGRAM = """
import importlib, json, sys
import jaxgen
from jaxgen import {names}
for module in {modules}:
    importlib.import_module(module)
from jax._src import xla_bridge
heavy = ("tensorflow", "torch", "tensorflow_datasets")
print(json.dumps([[m for m in heavy if m in sys.modules], xla_bridge.backends_are_initialized()]))
"""


def test_importing_everything_is_light():
    names = ", ".join(m.removeprefix("jaxgen.") for m in MODULES if m.count(".") == 1)
    program = PROGRAM.format(names=names, modules=MODULES)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy, backend_started = json.loads(done.stdout)
    assert heavy == []
    assert not backend_started


def package(module: str) -> str:
    """jaxgen.data.storage.cache -> data."""
    return module.split(".")[1]


def imported_packages(path: Path) -> set[str]:
    """Packages of jaxgen that a source file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {package(name) for name in names if name.startswith("jaxgen.")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_up(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":  # the front door names every package and loads them when asked
        allowed = {*jaxgen.__all__, "_process"}
    elif path.name == "__main__.py":  # a command may use everything
        allowed = set(ORDER)
    else:
        assert own in ORDER, f"add {own} to ORDER"
        allowed = {own, *ORDER[: ORDER.index(own)]}
    assert imported_packages(path) <= allowed


def test_rooms_are_attributes_of_the_package():
    program = "import jaxgen; print([getattr(jaxgen, name).__name__ for name in jaxgen.__all__])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert done.stdout.count("jaxgen.") == len(jaxgen.__all__)
    with pytest.raises(AttributeError, match="nowhere"):
        _ = jaxgen.nowhere  # pyright: ignore[reportAttributeAccessIssue]
