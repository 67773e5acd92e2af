"""Nothing in the package unpickles, evaluates or extracts what a file holds."""

import ast
import textwrap
from pathlib import Path

import pytest

import jaxgen

PACKAGE = Path(jaxgen.__file__).parent

FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "pandas.read_pickle", "yaml.load"}
# Members of an archive may leave their folder.
FORBIDDEN_METHODS = {"extract", "extractall", "unpack_archive"}
# These are allowed with one argument only, written as a literal.
REQUIRED = {
    "numpy.load": ("allow_pickle", False),
    "numpy.lib.format.read_array": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}


def offences(source: str) -> list[str]:
    """What a source file does that could run what a file contains."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                found += [alias.name] * (alias.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            found += [node.module] * (node.module.split(".")[0] in FORBIDDEN_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        words = ast.unparse(node.func).split(".")
        name = ".".join([names.get(words[0], words[0]), *words[1:]])
        given = {
            keyword.arg: keyword.value.value
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        }
        unpickles = name.split(".")[0] in ("pickle", "_pickle") and "dump" not in name
        if unpickles or name in FORBIDDEN_CALLS or (words[1:] and words[-1] in FORBIDDEN_METHODS):
            found.append(name)
        if given.get("allow_pickle"):
            found.append(f"{name} with allow_pickle")
        if name in REQUIRED:
            argument, value = REQUIRED[name]
            if argument not in given or given[argument] is not value:
                found.append(f"{name} without {argument}={value}")
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_nothing_executable_is_loaded(path):
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle; pickle.loads(x)",
        "import pickle as p; p.Unpickler(f).load()",
        "from pickle import load as read; read(f)",
        "import joblib",
        "from dill import loads",
        "import numpy as np; np.load(f)",
        "import numpy as np; np.load(f, allow_pickle=True)",
        "import numpy; numpy.load(f, allow_pickle=flag)",
        """
        def f(path):
            import torch
            return torch.load(path)
        """,
        "import torch as t; t.load(path, weights_only=False)",
        "eval(text)",
        "archive.extractall(folder)",
        "import shutil; shutil.unpack_archive(path, folder)",
        "read(file, allow_pickle=True)",
    ],
)
def test_the_search_finds(source):
    assert offences(textwrap.dedent(source))


def test_the_search_lets_pass():
    source = """
    import numpy as np, pickle, torch, re
    np.load(f, allow_pickle=False)
    torch.load(f, weights_only=True)
    re.compile("x")
    pickle.UnpicklingError
    """
    assert offences(textwrap.dedent(source)) == []
