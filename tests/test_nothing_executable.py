"""No file that jaxgen reads can run code: nothing is unpickled, evaluated or unpacked to disk."""

import ast
from pathlib import Path

import pytest

import jaxgen

PACKAGE = Path(jaxgen.__file__).parent

FORBIDDEN_MODULES = {"dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {"extractall", "extract", "unpack_archive"}


def offences(tree: ast.AST) -> list[str]:
    """Imports and calls that could run what a file holds."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name == "pickle" and a.asname]
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.ImportFrom) and node.module in {*FORBIDDEN_MODULES, "pickle"}:
            found.append(node.module)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # Its exceptions may be named, because torch raises them.
            if node.value.id == "pickle" and not node.attr.endswith("Error"):
                found.append(f"pickle.{node.attr}")
        if not isinstance(node, ast.Call):
            continue
        keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        match node.func:
            case ast.Name(id=name) if name in FORBIDDEN_NAMES:
                found.append(name)
            case ast.Attribute(attr=name) if name in FORBIDDEN_METHODS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                if keywords.get("weights_only") is not True:
                    found.append("torch.load without weights_only=True")
        if keywords.get("allow_pickle"):
            found.append("allow_pickle=True")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_no_call_can_run_what_a_file_holds(path):
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(file)",
        "import pickle as p",
        "pickle.Unpickler",
        "from pickle import loads",
        "from dill import loads",
        "eval(text)",
        "archive.extractall(folder)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "read(file, allow_pickle=True)",
    ],
)
def test_each_such_call_is_found(code):
    assert offences(ast.parse(code))
