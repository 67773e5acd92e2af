"""Record files as tensorflow-datasets writes them, read without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_records(path: Path, file_format: str) -> list[bytes]:
    """All records of one file, whose format is "array_record" or "tfrecord".

    Raises:
      ValueError: the file is truncated, or of another format.
    """
    if file_format == "array_record":
        # Needs a compiled package that exists for Linux and macOS only.
        from array_record.python.array_record_module import ArrayRecordReader

        reader = ArrayRecordReader(str(path))
        try:
            return reader.read_all() if reader.num_records() else []
        finally:
            reader.close()
    if file_format == "tfrecord":
        return list(_tfrecords(path.read_bytes()))
    raise ValueError(f"file format {file_format} is not supported, only array_record and tfrecord")


def parse_example(record: bytes) -> dict[str, bytes | int | None]:
    """The features of a serialized `tf.train.Example`: first value of each, None where not parsed.

    The message is Example{1: Features{1: map<string, Feature>}}, and a Feature is one of
    {1: BytesList, 2: FloatList, 3: Int64List}, each with its values in field 1.

    Raises:
      IndexError, ValueError: the record is no such message.
    """
    values: dict[str, bytes | int | None] = {}
    for _, features in _fields(record):
        for _, item in _fields(features):
            entry = dict(_fields(item))
            values[entry[1].decode()] = None
            for kind, body in _fields(entry[2]):
                for _, value in _fields(body):
                    if kind == 1:
                        values[entry[1].decode()] = value
                    elif kind == 3:  # packed integers come as bytes
                        number = value if isinstance(value, int) else _varint(value, 0)[0]
                        values[entry[1].decode()] = number - (number >> 63 << 64)
                    break
    return values


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, bytes or int) of a protocol buffer message, in order."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(message, at)
        elif wire in (1, 2, 5):
            size, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = message[at : at + size], at + size
            if at > end:
                raise ValueError("a record is truncated")
        else:
            raise ValueError("a record is no protocol buffer message")
        yield tag >> 3, value


def _tfrecords(content: bytes) -> Iterator[bytes]:
    """Records framed as: length (8 bytes), its checksum (4), data, their checksum (4)."""
    at = 0
    while at < len(content):
        start = at + 12
        if start > len(content):
            raise ValueError("the file is truncated")
        (size,) = struct.unpack_from("<Q", content, at)
        at = start + size + 4
        if at > len(content):
            raise ValueError("the file is truncated")
        yield content[start : start + size]
