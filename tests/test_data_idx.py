"""Folders of IDX files: every layout, and every way in which one can be wrong."""

import gzip
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxgen import data
from jaxgen.data.readers import idx
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


# --- the names of other sets --------------------------------------------------------------------


def write_named(folder: Path, name: str, split: str = "test", letters: bool = False):
    """The set of `write_set` under the names NAME-train-..., NAME-SPLIT-...."""
    arrays = write_set(folder / "plain")
    for number, file in enumerate(FILES):
        new = f"{name}-{file}" if name else file
        if number >= 2:
            new = new.replace("t10k", split)
        (folder / f"{new}.gz").write_bytes(gzip.compress((folder / "plain" / file).read_bytes()))
    shutil.rmtree(folder / "plain")
    return arrays


@pytest.mark.parametrize("inside", ["", "gzip", "EMNIST/raw"])
def test_emnist_is_turned_upright(tmp_path, inside, capsys):
    arrays = write_named(tmp_path / inside, "emnist-letters")
    loaded = data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(loaded.train.images[..., 0], arrays[0].swapaxes(1, 2))
    np.testing.assert_array_equal(loaded.test.images[..., 0], arrays[2].swapaxes(1, 2))
    assert loaded.train.images.flags.c_contiguous
    assert loaded.test.labels is not None
    np.testing.assert_array_equal(loaded.test.labels, arrays[3])
    err = capsys.readouterr().err
    assert err == (
        f"jaxgen: idx:{tmp_path}: its images are stored transposed; rows and columns are "
        "exchanged\n"
    )
    assert data.load(f"idx:{tmp_path}").fingerprint == loaded.fingerprint
    assert "transposed" in capsys.readouterr().err  # also of what comes from the cache


def test_one_of_several_sets_in_a_folder(tmp_path):
    letters = write_named(tmp_path, "emnist-letters")
    write_named(tmp_path, "emnist-digits")
    message = the_error(tmp_path)
    for name in ("emnist-digits", "emnist-letters"):
        assert f"idx:{tmp_path / name}" in message  # the remedy, followed:
        loaded = data.load(f"idx:{tmp_path / name}")
        np.testing.assert_array_equal(loaded.train.images[..., 0], letters[0].swapaxes(1, 2))
    assert "does not exist" in the_error(tmp_path / "emnist-balanced")
    plain = write_set(tmp_path)  # a set without a name comes first
    loaded = data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(loaded.train.images[..., 0], plain[0])


def test_a_named_set_that_lacks_a_file(tmp_path):
    write_named(tmp_path, "emnist-letters")
    (tmp_path / "emnist-letters-test-labels-idx1-ubyte.gz").unlink()
    assert "lacks emnist-letters-test-labels-idx1-ubyte (" in the_error(tmp_path)


def test_qmnist(tmp_path):
    """Labels of QMNIST have eight columns of int32, the class first."""
    arrays = write_named(tmp_path, "qmnist")
    for split, labels in (("train", arrays[1]), ("test", arrays[3])):
        (tmp_path / f"qmnist-{split}-labels-idx1-ubyte.gz").unlink()
        table = np.full((len(labels), 8), 70_000, ">i4")
        table[:, 0] = labels
        content = struct.pack(">III", 0xC02, *table.shape) + table.tobytes()
        (tmp_path / f"qmnist-{split}-labels-idx2-int.gz").write_bytes(gzip.compress(content))
    loaded = data.load(f"idx:{tmp_path}")
    np.testing.assert_array_equal(loaded.train.images[..., 0], arrays[0])
    assert loaded.train.labels is not None
    np.testing.assert_array_equal(loaded.train.labels, arrays[1])
    assert loaded.train.labels.dtype == np.int32


@pytest.mark.parametrize("dotted", [False, True])
def test_each_file_in_a_folder_of_its_own_name(tmp_path, dotted):
    arrays = write_set(tmp_path / "files", dotted=dotted)
    for file in sorted((tmp_path / "files").iterdir()):
        (tmp_path / "set" / file.name).mkdir(parents=True)
        file.rename(tmp_path / "set" / file.name / file.name)
    loaded = data.load(f"idx:{tmp_path / 'set'}")
    np.testing.assert_array_equal(loaded.train.images[..., 0], arrays[0])


def test_tilde_and_names_that_are_not_utf8(tmp_path, monkeypatch):
    odd = os.fsdecode(b"caf\xe9")
    write_set(tmp_path / odd)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(data.load(f"idx:~/{odd}").train.images) == 12
    (tmp_path / odd / FILES[0]).write_bytes(b"")
    with pytest.raises(UserError, match=r"caf\\xe9/train-images"):
        data.load(f"idx:~/{odd}")


def test_a_folder_that_may_not_be_read(unprivileged, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(unprivileged / "cache"))
    write_set(unprivileged / "set")
    (unprivileged / "set" / FILES[0]).chmod(0)
    assert f"{FILES[0]}: Permission denied" in the_error(unprivileged / "set")
    (unprivileged / "set").chmod(0)
    assert "Permission denied" in the_error(unprivileged / "set")
    (unprivileged / "set").chmod(0o700)


# --- hostile headers ----------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("sides", [(2**32 - 1,) * 3, (2**31, 2, 2), (0, 2**32 - 1, 2**32 - 1)])
def test_absurd_dimensions_allocate_nothing(tmp_path, compress, sides):
    write_set(tmp_path)
    header = struct.pack(">IIII", 0x803, *sides)
    (tmp_path / FILES[0]).write_bytes(compress(header + b"abc"))
    tracemalloc.start()
    try:
        assert "is damaged" in the_error(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


FILE = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 5, 4))


@settings(
    max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, len(FILE) - 1),
    replacement=st.binary(max_size=8),
    cut=st.integers(0, 8),
    compressed=st.booleans(),
)
def test_damaged_files_are_refused_or_read_right(tmp_path, at, replacement, cut, compressed):
    content = gzip.compress(FILE) if compressed else FILE
    content = content[:at] + replacement + content[at + cut :]
    (tmp_path / "file").write_bytes(content)
    refusal, array = None, None
    try:
        array = idx.read_array(tmp_path / "file", 0x803)
    except UserError as error:
        refusal = str(error)
    if array is None:
        assert "\n" not in (refusal or "")
    else:  # the values may have changed; the shape is the header's
        assert array.nbytes + 16 == len(gzip.decompress(content) if compressed else content)
