"""Data sets as small files, for a machine without a network or tensorflow-datasets.

    python benchmarks/reproducing/packing.py pack DIR --data-dir DATA
    python benchmarks/reproducing/packing.py unpack DIR --data-dir DATA

`pack` writes each set as one archive: the images of a split below one another in one PNG picture,
or the picture files of a set that was prepared from such; labels and fingerprint. `unpack` puts
them into jaxgen's cache and compares the fingerprints; after it, `--data-dir DATA` finds the sets
under their names.
"""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from jaxgen import data  # noqa: E402
from jaxgen.data.readers import prepared  # noqa: E402
from jaxgen.data.readers.decoding import decode_images  # noqa: E402
from jaxgen.data.readers.records import parse_example, read_records  # noqa: E402
from jaxgen.data.resizing import Square, square  # noqa: E402
from jaxgen.data.storage.cache import cached  # noqa: E402
from jaxgen.types import Dataset, Split  # noqa: E402


class Packed(NamedTuple):
    """A set to pack.

    Attributes:
      name: what `--dataset` is.
      resolutions: what its images are resized to; None as they are.
    """

    name: str
    resolutions: tuple[int | None, ...] = (None,)


SETS = (Packed("mnist"), Packed("binarized_mnist"), Packed("tfds:oxford_flowers102", (None, 32)))


def sheet(images: np.ndarray) -> bytes:
    """uint8 images [N, H, W, C] below one another, as PNG; of black and white one bit a pixel."""
    width, channels = images.shape[2:]
    pixels = images.reshape(-1, width, channels)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    if channels == 1 and np.isin(images, (0, 255)).all():
        picture = picture.convert("1", dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def images_of(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The images of a sheet."""
    Image.MAX_IMAGE_PIXELS = None  # a sheet has more pixels than a picture that Pillow trusts
    with Image.open(io.BytesIO(content)) as picture:
        pixels = picture.convert("L" if picture.mode in "1L" else "RGB")
        return np.asarray(pixels, np.uint8).reshape(shape).copy()


def pack(folder: Path, data_dir: Path) -> None:
    """Writes one archive for each set."""
    folder.mkdir(parents=True, exist_ok=True)
    for chosen in SETS:
        base = chosen.name.removeprefix("tfds:")
        source = prepared.find(base, data_dir)
        fingerprints = {
            str(size): data.load(chosen.name, data_dir, resolution=size).fingerprint
            for size in chosen.resolutions
        }
        record: dict = {"fingerprints": fingerprints, "version": source.name if source else None}
        with zipfile.ZipFile(folder / f"{base}.zip", "w") as archive:
            if base != chosen.name and source is not None:
                record["counts"] = _write_files(archive, source)
            else:
                record["shapes"] = _write_sheets(archive, data.load(chosen.name, data_dir))
            archive.writestr("record.json", json.dumps(record))
        print(f"{chosen.name}: {(folder / f'{base}.zip').stat().st_size / 2**20:.1f} MiB")


def _write_sheets(archive: zipfile.ZipFile, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    for name, split in dataset.splits.items():
        archive.writestr(f"{name}.png", sheet(split.images))
        if split.labels is not None:
            archive.writestr(f"{name}-labels.npy", _bytes(split.labels.astype(np.uint8)))
    return {name: split.images.shape for name, split in dataset.splits.items()}


def _write_files(archive: zipfile.ZipFile, source: Path) -> dict[str, int]:
    """The pictures as they are stored: JPEG files are smaller than what they decode to."""
    import tensorflow_datasets as tfds

    info: Any = tfds.builder_from_directory(source).info
    counts = {}
    for name, split in info.splits.items():
        records = [r for file in split.filepaths for r in read_records(Path(file), "array_record")]
        examples = [parse_example(record) for record in records]
        for number, example in enumerate(examples):
            archive.writestr(f"{name}/{number}", example["image"])  # pyright: ignore
        labels = np.array([example["label"] for example in examples], np.uint8)
        archive.writestr(f"{name}-labels.npy", _bytes(labels))
        counts[name] = len(examples)
    return counts


def _bytes(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def unpack(folder: Path, data_dir: Path) -> None:
    """Puts every set into jaxgen's cache; says so where one is not what was packed."""
    for chosen in SETS:
        base = chosen.name.removeprefix("tfds:")
        with zipfile.ZipFile(folder / f"{base}.zip") as archive:
            record = json.loads(archive.read("record.json"))
            for size in chosen.resolutions:
                target = square(size, "crop")
                source = _source(chosen.name, data_dir, record["version"])
                found = cached(
                    chosen.name,
                    (source, target) if target else source,
                    lambda archive=archive, record=record, target=target: _read(
                        archive, record, target
                    ),
                )
                same = found.fingerprint == record["fingerprints"][str(size)]
                print(f"{chosen.name}: {'unpacked' if same else 'NOT the set that was packed'}")


def _read(archive: zipfile.ZipFile, record: dict, target: Square | None) -> dict[str, Split]:
    splits = {}
    for name in record["shapes"] if "shapes" in record else record["counts"]:
        if "shapes" in record:
            images = images_of(archive.read(f"{name}.png"), tuple(record["shapes"][name]))
        else:
            files = [archive.read(f"{name}/{i}") for i in range(record["counts"][name])]
            images = decode_images(files, 3, target)
        labels = None
        if f"{name}-labels.npy" in archive.namelist():
            content = io.BytesIO(archive.read(f"{name}-labels.npy"))
            labels = np.load(content, allow_pickle=False).astype(np.int32)
        splits[name] = Split(images, labels)
    return splits


def _source(name: str, data_dir: Path, version: str) -> tuple[Any, ...]:
    """What `data.load` will look for in the cache."""
    if not name.startswith("tfds:"):
        return ("fetched", name)
    place = data_dir / name.removeprefix("tfds:") / version
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "dataset_info.json").exists():
        (place / "dataset_info.json").write_text("{}\n")
    return prepared.source(place)


def main() -> None:
    """Packs or unpacks."""
    parser = argparse.ArgumentParser(description="Packs data sets for another machine.")
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    {"pack": pack, "unpack": unpack}[given.what](given.folder, given.data_dir)


if __name__ == "__main__":
    main()
