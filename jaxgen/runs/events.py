"""What a run writes for TensorBoard, without a gap or a repetition after an interruption."""

import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgen._files import one_line_errors
from jaxgen.errors import UserError

HEADER, FOOTER = 12, 4  # bytes around each record: its length and a checksum; another checksum
REMEDY = "free the space, change the permissions, or choose another --workdir"


class TensorBoard:
    """The events of one run, which continue after `epoch`.

    Args:
      folder: of the events of epochs; those of single steps go into steps/.
      epoch: how many epochs the run has seen.

    Raises:
      UserError: from every method, where the events cannot be written.
    """

    def __init__(self, folder: Path, epoch: int):
        self._folder = folder
        self._epochs = EventFile(folder, epoch)
        self._steps: EventFile | None = None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """The metrics of an epoch."""
        metrics = {name: value for name, value in record.items() if "/" in name}
        self._epochs.write_scalars(metrics, record["epoch"])
        self._epochs.flush()

    def write_picture(self, name: str, picture: ArrayLike, epoch: int) -> None:
        """A picture [H, W, C] of an epoch."""
        self._epochs.write_image(name, np.asarray(picture), epoch)

    def write_steps(self, steps: Mapping[str, np.ndarray], last_step: int) -> None:
        """The metrics of each step of an epoch that ended with `last_step`."""
        first = last_step - len(steps["num_images"]) + 1
        if self._steps is None:
            self._steps = EventFile(self._folder / "steps", first - 1)
        for name, values in steps.items():
            for step, value in enumerate(values.tolist(), start=first):
                self._steps.write_scalars({f"train/{name}": value}, step)
        self._steps.flush()

    def close(self) -> None:
        """Writes what is left."""
        for file in (self._epochs, self._steps):
            if file is not None:
                file.close()

    def abandon(self) -> None:
        """Writes what is left as far as it can be written."""
        for file in (self._epochs, self._steps):
            with suppress(UserError):
                if file is not None:
                    file.close()


class EventFile:
    """A file of events after `last_step`; what earlier runs wrote after it is removed.

    A TensorBoard that has the removed events in memory drops them, too. Events are written by the
    calling thread: that of tensorboardX's own writer ends at the first error, and the run would
    wait for it forever.

    Args:
      folder: of the file; it is made where it is missing.
      last_step: the step that the events continue after.
    """

    def __init__(self, folder: Path, last_step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._folder = folder
        self._event: Any = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
        with one_line_errors("write events to", folder, REMEDY):
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("events.out.tfevents.*")):
                _truncate(path, last_step)
            # Without the suffix, a run that resumes within the same second would replace the file.
            self._file = EventsWriter(str(folder / "events"), f".after-{last_step}")
        session: Any = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        self._write(last_step + 1, file_version="brain.Event:2")
        self._write(last_step + 1, session_log=session(status=session.START))

    def write_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name."""
        from tensorboardX import summary

        for name, value in values.items():
            self._write(step, summary=summary.scalar(name, value))

    def write_image(self, name: str, image: np.ndarray, step: int) -> None:
        """A picture [H, W, C]."""
        from tensorboardX import summary

        self._write(step, summary=summary.image(name, image, dataformats="HWC"))

    def flush(self) -> None:
        """Brings everything to disk."""
        with one_line_errors("write events to", self._folder, REMEDY):
            self._file.flush()

    def close(self) -> None:
        """Brings everything to disk; the file takes no more events."""
        with one_line_errors("write events to", self._folder, REMEDY):
            self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        with one_line_errors("write events to", self._folder, REMEDY):
            self._file.write_event(self._event(step=step, wall_time=time.time(), **content))


def _truncate(path: Path, last_step: int) -> None:
    """Cuts a file before its first event after `last_step`, or before a record cut short."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    content = path.read_bytes()
    end = 0
    while end + HEADER <= len(content):
        (length,) = struct.unpack_from("<Q", content, end)
        record = content[end + HEADER : end + HEADER + length]
        following = end + HEADER + length + FOOTER
        try:
            event = Event.FromString(record)
        except DecodeError:
            break
        # A session log says from which step on to forget: it carries the first step to come.
        last = last_step + 1 if event.HasField("session_log") else last_step
        if following > len(content) or event.step > last:
            break
        end = following
    if end < len(content):
        with path.open("r+b") as file:
            file.truncate(end)
