"""Sets that tensorflow-datasets has prepared, whose images are decoded while they are used."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgen.data.lazy import LazyImages
from jaxgen.data.parallel import map_pictures
from jaxgen.data.readers.decoding import SizesDiffer, decode_image
from jaxgen.data.readers.prepared import places
from jaxgen.data.readers.prepared_info import Opened, damaged, open_set
from jaxgen.data.readers.record_files import RecordFiles
from jaxgen.data.readers.records import parse_example
from jaxgen.data.resizing import SizesDifferError, Square
from jaxgen.data.storage.fingerprints import fingerprint_of_files
from jaxgen.errors import UserError
from jaxgen.types import Split

_AT_ONCE = 1024  # records


def read(path: Path, target: Square | None, fast: bool) -> tuple[dict[str, Split], str]:
    """The splits of `prepared.read`, their images lazy, and the fingerprint of the files.

    Labels are read at once; without a `target`, so are the headers of the images.

    Raises:
      UserError: as `prepared.read`, and `fingerprint_of_files`.
    """
    opened = open_set(path)
    paths = [Path(file) for split in opened.info.splits.values() for file in split.filepaths]
    files = [(file.name, file) for file in paths]
    digest = fingerprint_of_files(files, ("prepared", target), fast=fast)
    splits = {}
    for name, split in opened.info.splits.items():
        try:
            splits[name] = _split(opened, name, split, target)
        except SizesDiffer as error:
            raise SizesDifferError(f"the images of {path} {error}") from error
        except UserError:
            raise
        except Exception as error:
            raise damaged(f"split {name!r} of {path}", error) from error
    shapes = sorted({split.images.shape[1:] for split in splits.values()})
    if len(shapes) > 1:
        raise SizesDifferError(f"the images of {path} {SizesDiffer(shapes)}")
    return splits, digest


def decoded_bytes(path: Path, target: Square | None) -> int:
    """What the decoded images would take; 0 where they differ in size and there is no `target`."""
    opened = open_set(path)
    number = sum(split.num_examples for split in opened.info.splits.values())
    height, width, channels = opened.shape
    if target is not None:
        height = width = target.resolution
    return number * (height or 0) * (width or 0) * channels


def _split(opened: Opened, name: str, split: Any, target: Square | None) -> Split:
    files = RecordFiles([Path(file) for file in split.filepaths], opened.info.file_format.value)
    if len(files) != split.num_examples:
        raise ValueError(f"{len(files)} examples instead of {split.num_examples}")
    transposed = opened.info.name == "emnist"
    scale = np.uint8(255 if opened.info.name == "binarized_mnist" else 1)

    def image(index: int) -> np.ndarray:
        content: Any = parse_example(files[index])[opened.image_key]
        try:
            pixels = decode_image(content, opened.channels, target) * scale
        except MemoryError:
            raise
        except Exception as error:
            what = f"image {index} of split {name!r} of {Path(split.filepaths[0]).parent}"
            raise damaged(what, error) from error
        return pixels.swapaxes(0, 1) if transposed else pixels

    numbers, sizes = [], set()
    if opened.label_key or target is None:
        for example in _examples(files):
            numbers.append(example[opened.label_key] if opened.label_key else 0)
            if target is None:
                sizes.add(_size(example[opened.image_key]))
    if len(sizes) > 1:
        raise SizesDiffer([(*size, opened.channels) for size in sorted(sizes)])
    height, width = sizes.pop() if target is None else target.size
    if transposed:
        height, width = width, height
    labels = np.asarray(numbers, np.int32) if opened.label_key else None
    rows = np.arange(len(files))
    if opened.in_order_of_hash:
        rows = np.argsort(places(name, len(files)))
        labels = None if labels is None else labels[rows]
    images: Any = LazyImages(image, (len(files), height, width, opened.channels), rows=rows)
    return Split(images, labels)


def _examples(files: RecordFiles) -> Iterator[Any]:
    for start in range(0, len(files), _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, len(files)))
        yield from map_pictures(lambda index: parse_example(files[index]), some, "reading labels")


def _size(content: Any) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        return image.size[1], image.size[0]
