"""Two runs in one workdir: the second is refused; a killed one leaves nothing in the way."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgen.errors import UserError
from jaxgen.runs.workdir import Workdir

CONFIG = {
    "system": "vae_mnist",
    "dataset": "mnist",
    "num_epochs": 1,
    "num_examples": None,
    "seed": 0,
}

HOLD = f"""
import pathlib, sys, time
from jaxgen.runs.workdir import Workdir
workdir = Workdir(pathlib.Path(sys.argv[1]), {CONFIG!r}, False)
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that runs in tmp_path / "run"."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_second_run_is_refused(holder, tmp_path, overwrite):
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError) as error:
        Workdir(tmp_path / "run", CONFIG, overwrite)
    assert str(error.value) == (
        f"{tmp_path / 'run'} is in use by process {holder.pid} on {platform.node()}: "
        "wait for it to end, or choose another --workdir"
    )
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "{}\n"


def test_a_killed_run_leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()
    Workdir(tmp_path / "run", CONFIG, False).close()


def opens_elsewhere(path: Path) -> bool:
    program = HOLD.replace("time.sleep(100)", "")
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    # A process may end with the lock: nothing warns of a file that it has not closed.
    assert done.returncode or done.stderr == ""
    return done.returncode == 0


def test_the_lock_is_held_until_it_is_closed(tmp_path):
    path = tmp_path / "run"
    workdir = Workdir(path, CONFIG, False)
    Workdir(path, CONFIG, False)  # a notebook after an interrupt
    assert not opens_elsewhere(path)
    workdir.close()
    assert opens_elsewhere(path)


def test_a_refused_configuration_does_not_keep_the_lock(tmp_path):
    path = tmp_path / "run"
    Workdir(path, CONFIG, False).close()
    with pytest.raises(UserError, match="another run"):
        Workdir(path, CONFIG | {"seed": 1}, False)
    assert opens_elsewhere(path)


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    path = tmp_path / "run"
    Workdir(path, CONFIG, False).close()
    (path / "images").mkdir()
    for leftover in (path / ".config.json.123.tmp", path / "images" / ".loss.png.9.tmp"):
        leftover.write_text("half")
    (path / "images" / "mine.tmp").write_text("whole")
    Workdir(path, CONFIG, False).close()
    assert sorted(p.name for p in path.rglob("*tmp")) == ["mine.tmp"]


def test_overwriting_removes_all_but_the_lock(tmp_path):
    path = tmp_path / "run"
    Workdir(path, CONFIG, False).close()
    (path / "images").mkdir()
    (path / "elsewhere").symlink_to(tmp_path)
    Workdir(path, CONFIG | {"seed": 1}, True).close()
    assert sorted(p.name for p in path.iterdir()) == [".lock", "config.json"]
    assert tmp_path.is_dir()
