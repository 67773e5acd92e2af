"""Runs the parts one after another, each in processes of its own, and keeps what each leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measuring
from benchmarks.accelerating.target import Target

GRACE = 2.0  # seconds between a part's own deadline and its end from outside


class Part(NamedTuple):
    """One part of the measurements.

    Attributes:
      name: of the part.
      about: what it measures.
      seconds: that it is expected to take on one H100 with 16 processors.
      divided: whether its rows can be shared out over processes, because none is timed.
      gpu_flags: for XLA, of this part alone.
    """

    name: str
    about: str
    seconds: float
    divided: bool = False
    gpu_flags: str = ""


def allowance(parts: Sequence[Part], index: int, remaining: float) -> float:
    """Seconds that a part may take: all that the later ones are not expected to need.

    Where that is less than it is expected to need itself, the later ones are the ones to be left
    out. 0 where less than half of what it needs is left: it would be ended without a result.
    """
    part, later = parts[index], sum(part.seconds for part in parts[index + 1 :])
    if remaining < 0.5 * part.seconds:
        return 0.0
    return min(remaining, max(1.3 * part.seconds, remaining - later))


def run(
    parts: Sequence[Part],
    target: Target,
    seconds: float,
    command: Callable[[str, Path, float, tuple[int, int]], list[str]],
    folder: Path,
    keep: Callable[[str, dict[str, Any]], None],
) -> None:
    """Runs each part and hands its record to `keep` at once.

    Args:
      parts: in order.
      target: the machine.
      seconds: for all parts together.
      command: (part, file for its rows, seconds, share) -> the words that start a process of it.
      folder: for the files of rows.
      keep: (part, {"state", "seconds", "rows", perhaps "error"}).
    """
    deadline = time.monotonic() + seconds
    for index, part in enumerate(parts):
        allowed = allowance(parts, index, deadline - time.monotonic())
        if not allowed:
            left = max(0.0, deadline - time.monotonic())
            why = f"{left:.0f} s were left, {part.seconds:.0f} expected"
            keep(part.name, {"state": "skipped", "seconds": 0.0, "rows": {}, "error": why})
            continue
        number = target.at_once if part.divided else 1
        print(f"== {part.name}: {part.about}, at most {allowed:.0f} s", flush=True)
        keep(part.name, one_part(part, number, allowed, target, command, folder))


def one_part(
    part: Part,
    number: int,
    seconds: float,
    target: Target,
    command: Callable[[str, Path, float, tuple[int, int]], list[str]],
    folder: Path,
) -> dict[str, Any]:
    """The record of a part: what its processes left behind, however they ended."""
    start = time.monotonic()
    paths = [folder / f"{part.name}-{share}.json" for share in range(number)]
    flags = part.gpu_flags if target.platform == "cuda" else ""
    environment = {**os.environ, **target.environment(flags)}
    processes = []
    for share, path in enumerate(paths):
        words = command(part.name, path, max(1.0, seconds - GRACE), (share, number))
        # A session of its own: its workers end with it.
        processes.append(subprocess.Popen(words, env=environment, start_new_session=True))
    problems = []
    for share, process in enumerate(processes):
        which = f"process {share} of {number}: " if number > 1 else ""
        try:
            code = process.wait(max(0.1, seconds - (time.monotonic() - start)))
            if code:
                problems.append(f"{which}ended with code {code}")
        except subprocess.TimeoutExpired:
            problems.append(f"{which}ended after {seconds:.0f} s")
        end(process)
    rows: dict[str, Any] = {}
    for path in paths:
        rows |= json.loads(path.read_text()) if path.exists() else {}
    record = {
        "state": "incomplete" if problems else "done",
        "seconds": round(time.monotonic() - start, 1),
        "date": time.strftime("%Y-%m-%d"),
        "rows": rows,
    }
    return record | ({"error": "; ".join(problems)} if problems else {})


def end(process: subprocess.Popen) -> None:
    """Ends a process that leads a session, and the processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # all have ended
        pass
    process.wait()


def keeper(path: Path, machine: dict[str, Any]) -> Callable[[str, dict[str, Any]], None]:
    """A `keep` that writes everything so far to one file after every part.

    What the file has of other parts stays, if it is from the same machine and versions.
    """
    result: dict[str, Any] = {"machine": machine, "parts": {}}
    before = json.loads(path.read_text()) if path.exists() else {"machine": {}}
    if all(before["machine"].get(k) == machine.get(k) for k in ("accelerator", "versions")):
        result["parts"] = before.get("parts", {})

    def keep(name: str, record: dict[str, Any]) -> None:
        if record["state"] == "skipped" and name in result["parts"]:
            return  # what was measured before is more
        result["parts"][name] = record
        measuring.write(path, result)
        print(f"   {name}: {record['state']} after {record['seconds']} s", file=sys.stderr)

    return keep
