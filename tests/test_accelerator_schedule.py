"""benchmarks/accelerator.py: what is left when parts or workers fail, hang or are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.accelerating import schedule, workers
from benchmarks.accelerating.schedule import Part
from benchmarks.accelerating.target import Target
from benchmarks.accelerating.task import Task

ROOT = Path(__file__).parents[1]
HERE = Target("cpu", "a processor", 4, True)
KEEP = "import json, pathlib; pathlib.Path({path!r}).write_text(json.dumps({{{name!r}: 1}}))\n"
ENDINGS = {
    "good": "",
    "raising": "raise RuntimeError('on purpose')",
    "hanging": (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path({path!r} + '.pid').write_text(str(child.pid))\n"
        "time.sleep(60)"
    ),
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}


def command(name, path, seconds, share):
    del seconds, share
    code = KEEP.format(path=str(path), name=name) + ENDINGS[name].format(path=str(path))
    return [sys.executable, "-c", code]


def run(names, seconds, tmp_path, expected=1.0):
    parts = [Part(name, "a part", expected) for name in names]
    path = tmp_path / "results.json"
    keep = schedule.keeper(path, {"processor": "a processor"})
    seen = []

    def watched(name, record):
        keep(name, record)
        seen.append(list(json.loads(path.read_text())["parts"]))

    schedule.run(parts, HERE, seconds, command, tmp_path, watched)
    return json.loads(path.read_text())["parts"], seen


@pytest.mark.slow
def test_a_part_that_fails_hangs_or_is_killed_leaves_its_rows_and_the_others(tmp_path, capfd):
    names = ["raising", "hanging", "killed", "good"]
    start = time.monotonic()
    parts, seen = run(names, 8.0, tmp_path, expected=2.0)
    assert time.monotonic() - start < 12
    assert {name: parts[name]["rows"] for name in names} == {name: {name: 1} for name in names}
    states = {name: parts[name]["state"] for name in names}
    assert states == dict.fromkeys(names[:3], "incomplete") | {"good": "done"}
    assert parts["raising"]["error"] == "ended with code 1"
    assert parts["killed"]["error"] == f"ended with code -{signal.SIGKILL:d}"
    assert parts["hanging"]["error"].startswith("ended after ")
    # each record was on disk before the next part began
    assert seen == [names[: count + 1] for count in range(4)]
    assert "on purpose" in capfd.readouterr().err


def test_what_a_hanging_part_has_started_ends_with_it(tmp_path):
    run(["hanging"], 1.5, tmp_path)
    (pid,) = (int(path.read_text()) for path in tmp_path.glob("*.pid"))
    status = Path(f"/proc/{pid}/status")
    for _ in range(50):  # it may still have to be collected by init
        if not status.exists() or "zombie" in status.read_text():
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its part")


def test_a_part_without_time_is_skipped(tmp_path):
    parts, _ = run(["good"], 1.0, tmp_path, expected=60.0)
    assert parts["good"]["state"] == "skipped"
    assert parts["good"]["rows"] == {}
    assert parts["good"]["error"] == "1 s were left, 60 expected"


def test_rows_of_a_divided_part_are_put_together(tmp_path):
    def shares(name, path, seconds, share):
        code = "import pathlib; pathlib.Path({!r}).write_text('{{\"{}\": {}}}')"
        return [sys.executable, "-c", code.format(str(path), share[0], share[1])]

    record = schedule.one_part(Part("part", "", 1.0), 2, 5.0, HERE, shares, tmp_path)
    assert record["rows"] == {"0": 2, "1": 2}
    assert record["state"] == "done"


def test_other_parts_of_the_same_machine_and_versions_stay(tmp_path):
    path, here = tmp_path / "results.json", {"accelerator": "a", "versions": {"jax": "1"}}
    done = {"state": "done", "seconds": 1.0, "rows": {"a": 1}}
    skipped = {"state": "skipped", "seconds": 0.0, "rows": {}, "error": "no time"}
    schedule.keeper(path, here)("race", done)
    keep = schedule.keeper(path, here | {"date": "today"})
    keep("race", skipped)
    keep("loops", skipped)
    parts = json.loads(path.read_text())["parts"]
    assert parts == {"race": done, "loops": skipped}
    schedule.keeper(path, here | {"versions": {"jax": "2"}})("loops", done)
    assert json.loads(path.read_text())["parts"] == {"loops": done}


@pytest.mark.parametrize(
    ("index", "remaining", "expected"),
    [
        (0, 300, 150),  # what the later parts are not expected to need
        (0, 200, 130),  # a third more than its own, at the cost of the last
        (0, 40, 0),  # less than half of what it needs
        (1, 30, 30),  # all that is left
        (2, 500, 500),
    ],
)
def test_allowance(index, remaining, expected):
    parts = [Part("a", "", 100), Part("b", "", 50), Part("c", "", 100)]
    assert schedule.allowance(parts, index, remaining) == expected


def test_a_row_that_fails_is_kept_with_its_error(tmp_path, capsys):
    task = Task(HERE, tmp_path / "rows.json", 60.0, (1, 3))
    assert task.mine("abcde") == ["b", "e"]
    task.attempt("good", lambda: 1)
    task.attempt("bad", lambda: 1 / 0)
    task.deadline = time.monotonic() + 1
    task.attempt("late", lambda: 1)
    assert json.loads(task.path.read_text()) == {
        "good": 1,
        "bad": {"error": "ZeroDivisionError: division by zero"},
        "late": {"skipped": "no time was left"},
    }
    assert "ZeroDivisionError" in capsys.readouterr().err


WORKER = """
import os, sys, time
sys.path.insert(0, {root!r})
from benchmarks.accelerating import workers
def answer(order):
    if order["call"] == "raise": raise ValueError("on purpose")
    if order["call"] == "end": os._exit(3)
    if order["call"] == "hang": time.sleep(60)
    return order["call"]
workers.serve(answer)
"""


def test_workers_that_raise_hang_or_end_leave_the_others(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(root=str(ROOT)))
    pool = workers.Pool(str(script))
    calls = {"a": "raise", "b": "hang", "c": "end", "d": "answer"}
    try:
        for name in calls:
            pool.start(name, {})
        answers = pool.ask_all({name: {"call": call} for name, call in calls.items()}, 2.0)
        assert answers["d"] == "answer"
        failures = [str(answers[name]) for name in "abc"]
        assert failures[0] == "ValueError: on purpose"
        assert failures[1] == "no answer within 2 s"
        assert failures[2].startswith("the worker ended")
        assert pool.ask("a", {"call": "again"}) == "again"  # an exception does not end it
        with pytest.raises(workers.Failed, match="has ended"):
            pool.ask("b", {"call": "again"})
    finally:
        pool.close()
    assert not pool.workers


@pytest.mark.slow
def test_every_part_in_its_small_form(tmp_path):
    """All processes, on a CPU; the record names every part and the section shows it."""
    output = tmp_path / "accelerator.json"
    words = ["--platform", "cpu", "--small", "--minutes", "8", "--output", str(output)]
    script = str(ROOT / "benchmarks" / "accelerator.py")
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(output.read_text())["parts"]
    assert {name: part["state"] for name, part in parts.items()} == dict.fromkeys(parts, "done")
    rows = [row for part in parts.values() for row in part["rows"].values()]
    assert rows
    assert not [row for row in rows if "error" in row or "skipped" in row]
    assert all(row["agrees"] for row in parts["agreement"]["rows"].values())
    entry = parts["race"]["rows"]["float32"]["systems"]["vae_mnist"]
    assert entry["failures"] == {}
    assert set(entry["sides"]) == {"torch_eager", "torch_compile", "jaxgen_step", "jaxgen_epoch"}
    assert entry["disagreement"] == []
