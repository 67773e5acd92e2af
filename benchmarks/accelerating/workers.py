"""Processes that stay: they compile beside one another, and are then measured one at a time.

A worker that raises answers with its exception, one that ends or is late is left out; the others
go on.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import measuring
from benchmarks.accelerating.task import brief

LONGEST_CALL = 60.0  # seconds for one order where no time is given


class Failed(Exception):
    """What a worker said instead of an answer."""


class Pool:
    """Workers by name.

    Args:
      script: the program that serves a worker for `--worker WORDS`.
    """

    def __init__(self, script: str):
        self.script = script
        self.workers: dict[str, subprocess.Popen] = {}

    def start(
        self, name: str, words: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts a worker, which imports its library while others are started."""
        self.workers[name] = measuring.start(
            self.script, "--worker", json.dumps(words), environment=environment
        )

    def ask(self, name: str, order: dict[str, Any], seconds: float = LONGEST_CALL) -> Any:
        """The answer of one worker.

        Raises:
          Failed: the worker raised, has ended, or did not answer in time, whereupon it is ended.
        """
        return self.ask_all({name: order}, seconds, raising=True)[name]

    def ask_all(
        self,
        orders: Mapping[str, dict[str, Any]],
        seconds: float,
        raising: bool = False,
        at_once: int | None = None,
    ) -> dict[str, Any]:
        """Answers of several workers, `at_once` of them busy; a `Failed` for those without one.

        A GPU's kernels are chosen by timing them: too many processes that compile beside one
        another disturb the choice.
        """
        deadline = time.monotonic() + seconds
        executor = ThreadPoolExecutor(at_once or max(1, len(orders)))
        waiting = {name: executor.submit(self._exchange, name, o) for name, o in orders.items()}
        answers: dict[str, Any] = {}
        for name, future in waiting.items():
            try:
                answers[name] = future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                self.stop(name)
                answers[name] = Failed(f"no answer within {seconds:.0f} s")
            except Failed as error:
                answers[name] = error
        executor.shutdown(wait=False, cancel_futures=True)
        if raising:
            for answer in answers.values():
                if isinstance(answer, Failed):
                    raise answer
        return answers

    def stop(self, name: str) -> None:
        """Ends a worker."""
        worker = self.workers.pop(name, None)
        if worker is not None:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):  # words that it never read
                    assert stream
                    stream.close()

    def close(self) -> None:
        """Ends all workers."""
        for name in list(self.workers):
            self.stop(name)

    def _exchange(self, name: str, order: dict[str, Any]) -> Any:
        worker = self.workers.get(name)
        if worker is None:
            raise Failed("the worker has ended")
        try:
            answer = measuring.ask(worker, order)
        except (SystemExit, OSError, ValueError) as error:
            raise Failed(f"the worker ended with code {worker.poll()}") from error
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]


def serve(runner: Callable[[dict[str, Any]], Any]) -> None:
    """The worker's side: orders are answered by `runner`, and its exceptions too."""

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"value": runner(order)}
        except Exception as error:
            import traceback

            traceback.print_exc()
            return {"error": brief(error)}

    measuring.serve(answer)
