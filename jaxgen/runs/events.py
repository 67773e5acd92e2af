"""What a run writes for TensorBoard, without a gap or a repetition after an interruption."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

HEADER, FOOTER = 12, 4  # bytes around each record: its length and a checksum; another checksum


class TensorBoard:
    """The events of one run, which continue after `epoch`.

    Args:
      folder: of the events of epochs; those of single steps go into steps/.
      epoch: how many epochs the run has seen.
    """

    def __init__(self, folder: Path, epoch: int):
        self._folder = folder
        self._epochs = event_writer(folder, epoch)
        self._steps: SummaryWriter | None = None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """The metrics of an epoch."""
        for name, value in record.items():
            if "/" in name:
                self._epochs.add_scalar(name, value, record["epoch"])

    def write_picture(self, name: str, picture: ArrayLike, epoch: int) -> None:
        """A picture [H, W, C] of an epoch."""
        self._epochs.add_image(name, np.asarray(picture), epoch, dataformats="HWC")

    def write_steps(self, steps: Mapping[str, np.ndarray], last_step: int) -> None:
        """The metrics of each step of an epoch that ended with `last_step`."""
        first = last_step - len(steps["num_images"]) + 1
        if self._steps is None:
            self._steps = event_writer(self._folder / "steps", first - 1)
        for name, values in steps.items():
            for step, value in enumerate(values.tolist(), start=first):
                self._steps.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        """Writes what is left."""
        self._epochs.close()
        if self._steps is not None:
            self._steps.close()


def event_writer(folder: Path, last_step: int) -> "SummaryWriter":
    """A writer of events after `last_step`; what earlier runs wrote after it is removed.

    A TensorBoard that has the removed events in memory drops them, too (`purge_step`).
    """
    from tensorboardX import SummaryWriter

    for path in sorted(folder.glob("events.out.tfevents.*")):
        _truncate(path, last_step)
    # Without the suffix, a run that resumes within the same second would replace the file.
    suffix = f".after-{last_step}"
    return SummaryWriter(
        str(folder), purge_step=last_step + 1, flush_secs=10, filename_suffix=suffix
    )


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
