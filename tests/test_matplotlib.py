"""matplotlib is imported whatever backend the environment names, and its choice is respected."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from jaxgen._matplotlib import import_matplotlib
matplotlib = import_matplotlib()
print(os.environ.get("MPLBACKEND"), matplotlib.rcParams["backend"])
matplotlib.use("svg")
import_matplotlib()
print(matplotlib.get_backend())
"""


@pytest.mark.parametrize("named", ["pdf", "module://nowhere.backend", None])
def test_the_backend_of_the_environment_is_kept(named):
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {} if named is None else {"MPLBACKEND": named}
    command = [sys.executable, "-c", PROGRAM]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    first, second = out.stdout.splitlines()
    assert first.startswith(f"{named} ")
    if named == "pdf":
        assert first == "pdf pdf"
    assert second == "svg"
