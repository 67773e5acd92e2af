"""Folders of IDX files: every layout, and every way in which one can be wrong."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from jaxgen import data
from jaxgen.errors import UserError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_set(folder: Path, compress: bool = False, dotted: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (12, 5, 4), dtype=np.uint8),
        rng.integers(0, 10, 12, dtype=np.uint8),
        rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        rng.integers(0, 10, 3, dtype=np.uint8),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, arrays, strict=True):
        content = idx_bytes(array)
        file = name.replace("-idx", ".idx") if dotted else name
        if compress:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)
    return arrays


def the_error(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        data.load(f"idx:{folder}")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("inside", ["", "raw", "MNIST/raw"])
def test_reads_every_layout(tmp_path, inside, compress, dotted):
    arrays = write_set(tmp_path / "set" / inside, compress, dotted)
    dataset = data.load(f"idx:{tmp_path / 'set'}")
    assert dataset.name == f"idx:{tmp_path / 'set'}"
    assert list(dataset.splits) == ["train", "test"]
    for split, images, labels in ((dataset.train, *arrays[:2]), (dataset.test, *arrays[2:])):
        assert split.images.dtype == np.uint8
        assert split.images.flags.c_contiguous
        np.testing.assert_array_equal(split.images, images[..., None])
        assert split.labels is not None
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, labels)


def test_archives_beside_the_unpacked_files(tmp_path):
    # torchvision leaves the archives beside the unpacked files.
    write_set(tmp_path / "set", compress=True)
    arrays = write_set(tmp_path / "set")
    np.testing.assert_array_equal(
        data.load(f"idx:{tmp_path / 'set'}").train.images[..., 0], arrays[0]
    )


def test_reads_the_original_files(real_data):
    dataset = data.load(f"idx:{real_data / 'mnist_idx'}")
    assert dataset.train.images.shape == (60_000, 28, 28, 1)
    assert dataset.test.images.shape == (10_000, 28, 28, 1)
    # The published first labels and the sums of pixels of the original files.
    assert dataset.train.labels is not None
    assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(dataset.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    # The mean and deviation that everyone normalizes MNIST with.
    assert abs(dataset.train.images.mean() / 255 - 0.1307) < 5e-5
    assert abs(dataset.train.images.std() / 255 - 0.3081) < 5e-5


def test_missing_directory(tmp_path):
    assert str(tmp_path / "nowhere") in the_error(tmp_path / "nowhere")


@pytest.mark.parametrize("absent", FILES)
def test_missing_file_is_named(tmp_path, absent):
    write_set(tmp_path, compress=True)
    (tmp_path / f"{absent}.gz").unlink()
    message = the_error(tmp_path)
    assert absent in message
    assert sum(name in message for name in FILES) == 1


def test_several_sets_must_be_told_apart(tmp_path):
    write_set(tmp_path / "MNIST" / "raw")
    write_set(tmp_path / "KMNIST" / "raw")
    assert f"idx:{tmp_path / 'KMNIST' / 'raw'}" in the_error(tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: gzip.compress(content)[:-9],
        lambda content: gzip.compress(content)[:20] + b"\xff" * 30,
        lambda content: gzip.compress(content)[:-8] + b"\x00" * 8,
        lambda content: content[:-1],
        lambda content: content + b"\x00",
        lambda content: b"",
        lambda content: content[:6],
        lambda content: b"\x00\x00\x0d" + content[3:],
        lambda content: b"<!DOCTYPE html><html></html>",
    ],
    ids=[
        "gz-truncated", "gz-corrupt", "gz-checksum", "short", "long", "empty", "header-only",
        "floats", "html",
    ],
)  # fmt: skip
def test_damaged_file_is_named(tmp_path, name, damage):
    write_set(tmp_path)
    file = tmp_path / name
    file.write_bytes(damage(file.read_bytes()))
    assert str(file) in the_error(tmp_path)
    assert not (tmp_path / "cache" / "datasets").exists()


def test_images_in_the_place_of_labels(tmp_path):
    write_set(tmp_path)
    shutil.copy(tmp_path / FILES[0], tmp_path / FILES[1])
    message = the_error(tmp_path)
    assert "00000801" in message
    assert "00000803" in message


def test_no_images(tmp_path):
    write_set(tmp_path)
    (tmp_path / FILES[0]).write_bytes(idx_bytes(np.zeros((0, 5, 4), np.uint8)))
    (tmp_path / FILES[1]).write_bytes(idx_bytes(np.zeros(0, np.uint8)))
    assert str(tmp_path / FILES[0]) in the_error(tmp_path)


def test_lengths_that_differ(tmp_path):
    write_set(tmp_path)
    shutil.copy(tmp_path / FILES[3], tmp_path / FILES[1])
    message = the_error(tmp_path)
    assert "12 images" in message
    assert "3 labels" in message


def test_sizes_that_differ(tmp_path):
    write_set(tmp_path)
    (tmp_path / FILES[2]).write_bytes(idx_bytes(np.zeros((3, 5, 5), np.uint8)))
    assert "differ in size" in the_error(tmp_path)


def test_changed_files_are_read_again(tmp_path):
    write_set(tmp_path)
    before = data.load(f"idx:{tmp_path}")
    labels = np.arange(12, dtype=np.uint8) % 10
    (tmp_path / FILES[1]).write_bytes(idx_bytes(labels))
    after = data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(after.train.labels, labels)
    assert after.fingerprint != before.fingerprint
