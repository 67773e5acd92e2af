"""What a part is given: the target, the time it has, and where its rows go."""

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.accelerating.target import Target

ENOUGH = 3.0  # seconds: with less left no further row is begun


class Task:
    """One process of a part.

    Every row is on disk as soon as it is known, so that a process that is killed loses none.

    Args:
      target: the machine.
      path: the JSON file of this process, {name: row}.
      seconds: until the process is ended from outside.
      share: which of how many processes of the part this is, (index, number).
    """

    def __init__(self, target: Target, path: Path, seconds: float, share: tuple[int, int] = (0, 1)):
        self.target, self.path, self.share = target, path, share
        self.deadline = time.monotonic() + seconds
        self.rows: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """Seconds until this process is ended."""
        return self.deadline - time.monotonic()

    def mine(self, names: Any) -> list[Any]:
        """The rows that fall to this process."""
        index, number = self.share
        return list(names)[index::number]

    def keep(self, name: str, row: Any) -> None:
        """Adds or replaces a row and writes all of them."""
        self.rows[name] = row
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.rows))
        os.replace(temporary, self.path)
        print(f"  {name}: {json.dumps(row)[:300]}", flush=True)

    def attempt(self, name: str, measure: Callable[[], Any]) -> None:
        """Keeps what `measure` returns, or the exception that it raises; nothing without time."""
        if self.left < ENOUGH:
            self.keep(name, {"skipped": "no time was left"})
            return
        try:
            row = measure()
        except Exception as error:
            traceback.print_exc()
            row = {"error": brief(error)}
        self.keep(name, row)


def brief(error: BaseException) -> str:
    """An exception in one line of at most 400 characters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:400]
