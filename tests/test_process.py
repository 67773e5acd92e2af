"""The process of a command: exit codes of signals, streams that are closed, mistakes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxgen import _process
from jaxgen._process import command

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
LIGHT = "import gc, os, signal, sys, time\nfrom jaxgen._process import command\n"


def run(program, redirections="", **options):
    """Runs a program under a shell, with redirections such as `2>&-`."""
    line = f'exec "$0" -c "$1" {redirections}'
    return subprocess.run(
        ["bash", "-c", line, sys.executable, LIGHT + program],
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT | options,
    )


CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), CODES)
def test_signals_end_with_their_code(number, code):
    done = run(f"command(lambda: (os.kill(os.getpid(), {int(number)}), time.sleep(30)))")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_during_garbage_collection_is_not_lost(number, code):
    """As in JAX's own callback (jax #18246): what is raised there is dropped by Python."""
    program = f"""
sent = []
def callback(phase, info):
    if phase == "stop" and not sent:
        sent.append(True)
        os.kill(os.getpid(), {int(number)})
        for _ in range(1000):
            pass
gc.callbacks.append(callback)
def main():
    gc.collect()
    for _ in range(3000):
        time.sleep(0.01)
command(main)
"""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_signal_that_is_dropped_elsewhere_is_found_by_the_loop():
    program = """
from jaxgen._process import raise_if_interrupted
def main():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    except BaseException:
        pass
    raise_if_interrupted()
    print("lost")
command(main)
"""
    done = run(program)
    assert (done.returncode, done.stdout) == (143, "")


# Stands for a Ctrl-C at the moment when a package begins to be imported.
AT_IMPORT = """
import os, runpy, signal, sys
package, workdir = sys.argv[1:]
sys.argv[1:] = ["train", "vae_mnist", "--workdir", workdir]
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == package:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""
SCRIPT = "runpy.run_path('experiments/vae_mnist.py', run_name='__main__')"
COMMAND = "runpy.run_module('jaxgen', run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize(
    ("run", "package"),
    [(SCRIPT, "numpy"), (SCRIPT, "optax"), (COMMAND, "tyro"), (COMMAND, "optax")],
    ids=["script-numpy", "script-optax", "command-tyro", "command-optax"],
)
def test_an_interrupt_during_imports_leaves_quietly(run, package, tmp_path):
    program = [sys.executable, "-c", AT_IMPORT + run, package, str(tmp_path / "run")]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
    # Ended by the signal, or with the code that shells give for it.
    assert done.returncode in (-signal.SIGINT, 130)
    assert (done.stdout, done.stderr) == ("", "")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_import_can_be_caught():
    program = """
import jaxgen
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == "jax":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
assert gc.isenabled()
try:
    jaxgen.models
except KeyboardInterrupt:
    assert gc.isenabled()
    raise ValueError("another mistake keeps its traceback")
"""
    done = run(program)
    assert done.returncode == 1
    assert "another mistake keeps its traceback" in done.stderr


def test_ignored_signals_stay_ignored():
    """As under nohup."""
    program = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
command(lambda: (os.kill(os.getpid(), signal.SIGHUP), print("goes on")))
"""
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.parametrize("redirections", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_mistake(redirections, tmp_path):
    program = f"""
def main():
    print("out"); print("err", file=sys.stderr); sys.stderr.flush()
    with open({str(tmp_path / "file")!r}, "w") as file:
        assert file.fileno() > 2
        file.write("whole")
command(main)
"""
    assert run(program, redirections).returncode == 0
    assert (tmp_path / "file").read_text() == "whole"


def test_output_that_is_no_longer_read_is_no_mistake(tmp_path):
    program = f"""
from jaxgen.runs.console import say
def main():
    for i in range(5000):
        say(f"line {{i}} " + "x" * 100)
    open({str(tmp_path / "done")!r}, "w").close()
command(main)
"""
    done = run(program, "| head -n 1")
    assert done.stdout.startswith("line 0 ")
    assert done.stderr == ""
    assert (tmp_path / "done").exists()


def test_names_that_the_terminal_cannot_write_are_escaped():
    program = "command(lambda: print('für', os.fsdecode(b'caf\\xe9')))"
    done = run(program, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stdout) == (0, "f\\xfcr caf\\udce9\n")


def test_a_mistake_is_one_line_and_code_2():
    program = """
from jaxgen.errors import UserError
def main():
    raise UserError("expected this, got that: change it")
command(main)
"""
    done = run(program)
    assert (done.returncode, done.stderr) == (2, "error: expected this, got that: change it\n")


def test_a_command_runs_in_a_thread_and_leaves_the_handlers_as_they_were():
    before = [signal.getsignal(number) for number, _ in CODES]
    seen, hook = [], sys.unraisablehook
    thread = threading.Thread(target=lambda: command(lambda: seen.append("thread")))
    thread.start()
    thread.join()
    command(lambda: seen.append("main"))
    assert seen == ["thread", "main"]
    assert [signal.getsignal(number) for number, _ in CODES] == before
    assert sys.unraisablehook is hook


def test_outside_of_a_command_no_timer_ends_the_process():
    """In a program that imports the library Ctrl-C raises KeyboardInterrupt, and nothing else."""
    with pytest.raises(KeyboardInterrupt):
        with _process.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
    assert _process._Deadline.timer is None
