"""Record files read by index, as tensorflow-datasets writes them."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class RecordFiles:
    """The records of several files, one after another; any number of threads may read.

    Args:
      paths: of the files.
      file_format: "array_record" or "tfrecord".

    Raises:
      ValueError: a file is truncated, or of another format.
    """

    def __init__(self, paths: Sequence[Path], file_format: str):
        if file_format == "array_record":
            self._files: list[Any] = [_ArrayRecords(path) for path in paths]
        elif file_format == "tfrecord":
            self._files = [_TFRecords(path) for path in paths]
        else:
            raise ValueError(
                f"file format {file_format} is not supported, only array_record and tfrecord"
            )
        self._ends = np.cumsum([len(file) for file in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> bytes:
        number = int(np.searchsorted(self._ends, index, side="right"))
        file = self._files[number]
        return file[index - (int(self._ends[number]) - len(file))]


class _ArrayRecords:
    def __init__(self, path: Path):
        # Needs a compiled package that exists for Linux and macOS only.
        from array_record.python.array_record_module import ArrayRecordReader

        self._reader = ArrayRecordReader(str(path))

    def __len__(self) -> int:
        return self._reader.num_records()

    def __getitem__(self, index: int) -> bytes:
        return self._reader.read([index])[0]


class _TFRecords:
    """Records framed as: length (8 bytes), its checksum (4), data, their checksum (4)."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDONLY)
        end, at, places = os.fstat(self._file).st_size, 0, []
        while at < end:
            head = os.pread(self._file, 8, at)
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else end
            places.append((at + 12, size))
            at += 16 + size
        if at != end:
            os.close(self._file)
            raise ValueError("the file is truncated")
        self._places = np.asarray(places, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        at, size = map(int, self._places[index])
        return os.pread(self._file, size, at)

    def __del__(self) -> None:
        if hasattr(self, "_places"):
            os.close(self._file)
