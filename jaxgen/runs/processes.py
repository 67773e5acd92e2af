"""One run in several processes, on one host or on many, by `jax.distributed`.

Every process does the same: it loads the data, holds the whole state, and computes its share of
each batch. The first one alone writes the run's folder; the others write theirs to a temporary one,
which is removed. Where one process has to decide (how many steps come next, what the newest
checkpoint is), the others learn it from the first.
"""

import atexit
import contextlib
import json
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.runs import console
from jaxgen.types import PyTree

ANSWER_SECONDS = 10.0  # until a coordinator has to answer
HEARTBEAT_SECONDS = 20  # until a process that is not heard of counts as ended
START_SECONDS = 300  # until all processes have to be there
END_SECONDS = 24 * 3600  # for which processes wait for the evaluation of the first one
AUTOMATIC = "auto"


class Place(NamedTuple):
    """Where a process stands among those of a run.

    Attributes:
      coordinator: HOST:PORT of the first process; "auto" to find all three in the environment of
        a cluster; None for a run in a single process.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


SINGLE = Place()


def join(place: Place) -> None:
    """Joins the processes of a run; has to come before anything is computed.

    Raises:
      UserError: the three do not fit together, the coordinator does not answer, or JAX has started.
    """
    if place == SINGLE:
        return
    options: dict[str, Any] = {}
    if place.coordinator != AUTOMATIC:
        options = _checked(place)
    elif place != Place(AUTOMATIC):
        raise UserError(
            "expected --coordinator auto alone, got --num-processes or --process-id with it: leave "
            "them out"
        )
    try:
        jax.distributed.initialize(
            **options,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=END_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        remedy = "check that each process has its own --process-id"
        if place.coordinator == AUTOMATIC:
            remedy = "where no cluster is found, pass HOST:PORT, --num-processes and --process-id"
        raise UserError(
            f"cannot join the processes of the run ({str(error).splitlines()[0]}): {remedy}"
        ) from error
    if jax.process_index():
        console.be_quiet()


def _checked(place: Place) -> dict[str, Any]:
    if place.coordinator is None or place.num_processes is None or place.process_id is None:
        raise UserError(
            "expected --coordinator, --num-processes and --process-id together, got some of them: "
            "pass all three"
        )
    host, _, port = place.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"expected --coordinator HOST:PORT, got {place.coordinator}: such as 127.0.0.1:1234"
        )
    number = _checks.whole_number("--num-processes", place.num_processes)
    index = _checks.whole_number("--process-id", place.process_id, 0, number - 1)
    if index:
        _wait_for(host, int(port))
    return {"coordinator_address": place.coordinator, "num_processes": number, "process_id": index}


def _wait_for(host: str, port: int) -> None:
    """Waits until the coordinator answers: JAX would try for minutes, and abort."""
    began = time.monotonic()
    while True:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
            return
        except OSError as error:
            if time.monotonic() - began > ANSWER_SECONDS:
                raise UserError(
                    f"expected a coordinator at {host}:{port}, got no answer in "
                    f"{ANSWER_SECONDS:.0f} s ({error}): start the process with --process-id 0 "
                    "first, and check the address"
                ) from error
        time.sleep(0.1)


def is_first() -> bool:
    """Whether this process writes the run's folder."""
    return jax.process_index() == 0


def own_folder(workdir: Path) -> Path:
    """The folder of the run in the first process, a temporary one in the others."""
    if is_first():
        return workdir
    folder = Path(tempfile.mkdtemp(prefix="jaxgen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "run"


def from_first(value: Any) -> Any:
    """What the first process passes, anything that JSON can hold."""
    return value if jax.process_count() == 1 else _texts(value)[0]


def state_from_first(state: PyTree) -> PyTree:
    """The arrays that the first process passes; the others pass arrays of the same shapes."""
    if jax.process_count() == 1:
        return state
    return multihost_utils.broadcast_one_to_all(state)


def check_same(config: Mapping[str, Any]) -> None:
    """Raises UserError, in every process, where the processes do not train the same run."""
    if jax.process_count() == 1:
        return
    found = _texts({k: v for k, v in config.items() if k not in ("data_dir", "device")})
    for index, other in enumerate(found[1:], 1):
        for name in sorted(found[0].keys() | other.keys()):
            if found[0].get(name) != other.get(name):
                raise UserError(
                    f"expected the same {name} in every process, got {found[0].get(name)} in "
                    f"process 0 and {other.get(name)} in process {index}: start them with the same "
                    "flags"
                )


@contextlib.contextmanager
def naming_ended_processes() -> Iterator[None]:
    """A computation that fails in this fails because another process has ended.

    JAX's coordination service may notice it first. It then aborts this process with a message of
    its own.

    Raises:
      UserError: in place of JAX's error, where there are several processes.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # A program that is run at once, not in the background, fails with a ValueError.
        of_network = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
        if jax.process_count() == 1 or not of_network:
            raise
        raise UserError(
            f"another process of this run has ended ({str(error).splitlines()[0][:200]}): start "
            "all of them again with the same flags, and the run resumes after its last checkpoint"
        ) from error


def _texts(value: Any) -> list[Any]:
    """What each process passes, in the order of the processes."""
    text = json.dumps(value).encode()
    lengths = multihost_utils.process_allgather(np.array(len(text)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]
