"""Data sets that are read while they are used: the images of the same sets in memory."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_data_prepared import write_images

from jaxgen import data
from jaxgen.data import memory
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
LABELS = np.arange(23) % 5


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


def write_pictures(folder: Path, count: int, width: int = 8) -> Path:
    """Pictures in two classes, half of them lying on their side as their EXIF data say."""
    for i in range(count):
        place = folder / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        turned, exif = i % 4 == 3, Image.Exif()
        exif[0x112] = 6 if turned else 1
        size = (width, 7) if turned else (7, width)
        pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i:02d}.png", exif=exif)
    return folder


def assert_same(name: str, data_dir: Path | None = None, **options: Any) -> data.LazyImages:
    """Compares a streamed set with the one in memory; gives the lazy images."""
    whole = data.load(name, data_dir, stream=False, **options)
    streamed = data.load(name, data_dir, stream=True, **options)
    assert data.is_streamed(streamed)
    assert not data.is_streamed(whole)
    assert streamed.splits.keys() == whole.splits.keys()
    for split, (images, labels) in whole.splits.items():
        lazy = streamed.splits[split]
        assert lazy.images.shape == images.shape
        assert lazy.images.dtype == images.dtype
        assert isinstance(lazy.images, data.LazyImages) == (split == "train")
        np.testing.assert_array_equal(np.asarray(lazy.images), images)
        if labels is None:
            assert lazy.labels is None
        else:
            assert lazy.labels is not None
            assert lazy.labels.dtype == np.int32
            np.testing.assert_array_equal(lazy.labels, labels)
    data.check(streamed)
    found: Any = streamed.train.images
    return found


@pytest.mark.parametrize("options", [{}, {"resolution": 4}, {"resolution": 5, "seed": 3}])
def test_a_folder(options, tmp_path):
    images = assert_same(f"folder:{write_pictures(tmp_path / 'all', 20)}", **options)
    assert np.asarray(images).std() > 30


def test_a_folder_of_splits(tmp_path):
    for split, count in (("train", 9), ("val", 4)):
        write_pictures(tmp_path / "all" / split, count)
    assert_same(f"folder:{tmp_path / 'all'}")


def test_pictures_that_differ_in_size(tmp_path):
    folder = write_pictures(tmp_path / "all", 6)
    write_pictures(folder / "other", 2, width=9)
    shutil.move(folder / "other" / "class0" / "00.png", folder / "class0" / "other.png")
    shutil.rmtree(folder / "other")
    with pytest.raises(data.SizesDifferError, match=r"other\.png has 9x7, others 8x7"):
        data.load(f"folder:{folder}", stream=True)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("options", [{}, {"resolution": 4}])
def test_a_prepared_set(options, file_format, tmp_path):
    sizes = {"train": 13, "test": 5}
    write_images(tmp_path / "some_set" / "1.0.0", sizes, 3, file_format=file_format)
    assert_same("tfds:some_set", tmp_path, **options)


def test_a_prepared_set_without_a_test_split(tmp_path):
    write_images(tmp_path / "some_set" / "1.0.0", {"train": 23}, labelled=False)
    assert_same("tfds:some_set", tmp_path)


def test_emnist_stays_upright(tmp_path):
    place = tmp_path / "emnist" / "1.0.0"
    write_images(place, {"train": 9, "test": 3})
    for file in place.iterdir():
        if file.suffix == ".json":
            file.write_text(file.read_text().replace("some_set", "emnist"))
        else:
            file.rename(place / file.name.replace("some_set", "emnist"))
    assert_same("tfds:emnist", tmp_path)


@pytest.mark.slow
def test_prepared_mnist_is_in_the_order_of_the_original_files(real_data):
    assert_same("tfds:mnist", real_data / "tfds")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("options", [{}, {"resolution": 4}])
def test_arrays_on_disk(options, dtype, tmp_path):
    images = RNG.integers(0, 256, (23, 6, 5), dtype=np.uint8)
    images = images if dtype == np.uint8 else (images / np.float32(255)).astype(np.float32)
    np.save(tmp_path / "train_images.npy", images)
    assert_same(f"npy:{tmp_path / 'train_images.npy'}", **options)
    np.save(tmp_path / "train_labels.npy", LABELS)
    assert_same(f"npy:{tmp_path}", **options)
    np.savez(tmp_path / "all.npz", train_images=images, train_labels=LABELS)
    assert_same(f"npz:{tmp_path / 'all.npz'}", **options)
    np.savez(tmp_path / "two.npz", train_images=images, test_images=images[:4])
    assert_same(f"npz:{tmp_path / 'two.npz'}", **options)


def test_what_is_selected_is_not_read():
    read = []

    def image(index):
        read.append(index)
        return np.full((2, 2, 1), index, np.uint8)

    images = data.LazyImages(image, (10, 2, 2, 1))
    some = images[2:8][np.array([True, False, True, True, False, True])]
    assert some.shape == (4, 2, 2, 1)
    assert len(some) == 4
    assert read == []
    assert np.asarray(some[np.array([3, 0])])[:, 0, 0, 0].tolist() == [7, 2]
    assert some[1][0, 0, 0] == 4
    assert sorted(read) == [2, 4, 7]


class TestFingerprint:
    @pytest.fixture
    def folder(self, tmp_path):
        return write_pictures(tmp_path / "all", 8)

    def of(self, folder, **options):
        return data.load(f"folder:{folder}", stream=True, **options).fingerprint

    def test_it_is_of_contents(self, folder, tmp_path):
        before = self.of(folder, resolution=4)
        assert before.startswith("files:")
        moved = tmp_path / "moved"
        shutil.copytree(folder, moved)
        assert self.of(moved, resolution=4) == before
        assert self.of(folder, resolution=5) != before
        file = folder / "class0" / "00.png"
        stat, content = file.stat(), bytearray(file.read_bytes())
        content[-1] ^= 1  # of the checksum of the last chunk, which no pixel depends on
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert self.of(folder, resolution=4) != before

    def test_a_fast_one_is_of_times(self, folder):
        options = {"resolution": 4, "fast_fingerprint": True}
        before = self.of(folder, **options)
        assert before.startswith("times:")
        file = folder / "class0" / "00.png"
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
        changed = self.of(folder, **options)
        assert changed != before
        file.rename(folder / "class0" / "99.png")
        assert self.of(folder, **options) not in (before, changed)

    def test_of_arrays(self, tmp_path):
        images = RNG.integers(0, 256, (23, 6, 5), dtype=np.uint8)
        found = []
        for _ in range(2):
            np.save(tmp_path / "images.npy", images)
            found.append(data.load(f"npy:{tmp_path / 'images.npy'}", stream=True).fingerprint)
            images[3, 2, 1] ^= 1
        assert found[0] != found[1]


class TestMemory:
    @pytest.mark.parametrize("kind", ["folder", "npy", "npz", "tfds"])
    def test_a_set_larger_than_half_of_it_is_streamed(self, kind, tmp_path, monkeypatch, capsys):
        images = RNG.integers(0, 256, (23, 6, 5), dtype=np.uint8)
        place = tmp_path / "data"
        place.mkdir()
        name = f"{kind}:{place}"
        if kind == "folder":
            write_pictures(place, 12)
        elif kind == "npy":
            np.save(place / "train_images.npy", images)
        elif kind == "npz":
            name = f"npz:{place / 'all.npz'}"
            np.savez(place / "all.npz", train_images=images)
        else:
            write_images(place / "some_set" / "1.0.0", {"train": 40})
            name = "tfds:some_set"
        monkeypatch.setattr(memory, "available", lambda: 1500)
        assert data.is_streamed(data.load(name, place, resolution=5))
        assert "of available memory, more than 50%" in capsys.readouterr().err
        assert not data.is_streamed(data.load(name, place, resolution=5, stream=False))
        monkeypatch.setattr(memory, "available", lambda: 10_000)
        assert not data.is_streamed(data.load(name, place, resolution=5))
        assert "memory" not in capsys.readouterr().err

    def test_held_out_images_have_to_fit(self, tmp_path, monkeypatch):
        np.save(tmp_path / "images.npy", np.zeros((40, 5, 5), np.uint8))
        monkeypatch.setattr(memory, "available", lambda: 150)
        with pytest.raises(UserError, match=r"the split test of npy:.* would take 0 MB"):
            data.load(f"npy:{tmp_path / 'images.npy'}")

    @pytest.mark.parametrize("version", [0, 1])
    def test_the_limit_of_a_container(self, version, tmp_path, monkeypatch):
        contents = ["5000\n", "3000\n", "anon 1\ninactive_file 900\n"]
        for name, content in zip(memory._GROUP_FILES[version], contents, strict=True):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(memory, "_GROUP", tmp_path)
        assert memory.available() == 5000 - (3000 - 900)
        (tmp_path / memory._GROUP_FILES[version][0]).write_text("max\n")
        assert (memory.available() or 0) > 10**6

    def test_without_grain(self, tmp_path, monkeypatch, capsys):
        np.save(tmp_path / "images.npy", np.zeros((40, 5, 5), np.uint8))
        name = f"npy:{tmp_path / 'images.npy'}"
        monkeypatch.setattr(memory, "_has_grain", lambda: False)
        monkeypatch.setattr(memory, "available", lambda: 1500)
        assert not data.is_streamed(data.load(name))
        assert "more than 50%: pip install 'jaxgen[stream]'" in capsys.readouterr().err
        with pytest.raises(UserError, match="expected grain to stream npy"):
            data.load(name, stream=True)

    def test_what_is_available_is_known_here(self):
        assert 0 < (memory.available() or 0) < 2**50


def test_a_validation_split_of_a_stream(tmp_path):
    np.save(tmp_path / "images.npy", RNG.integers(0, 256, (40, 5, 5), dtype=np.uint8))
    name = f"npy:{tmp_path / 'images.npy'}"
    whole = data.with_validation(data.load(name), 0.25)
    lazy = data.with_validation(data.load(name, stream=True), 0.25)
    assert isinstance(lazy.splits["validation"].images, np.ndarray)
    for split, (images, _) in whole.splits.items():
        np.testing.assert_array_equal(np.asarray(lazy.splits[split].images), images)


def npz_file(tmp_path, save=np.savez, **arrays):
    save(tmp_path / "all.npz", **arrays)
    return f"npz:{tmp_path / 'all.npz'}"


def npy_file(tmp_path, images):
    np.save(tmp_path / "images.npy", images)
    return f"npy:{tmp_path / 'images.npy'}"


ZEROS = np.zeros((9, 5, 5), np.uint8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (lambda _: "glyphs", "glyphs is read into memory and cannot be streamed"),
        (lambda _: "auto", "cannot be streamed"),
        (lambda path: npz_file(path, np.savez_compressed, train_images=ZEROS), "is compressed"),
        (lambda path: npz_file(path, images=ZEROS), "holds no train_images"),
        (lambda path: npy_file(path, ZEROS.astype(float)), "of uint8 or float32 to stream"),
        (lambda path: npy_file(path, ZEROS.astype(np.float32) + 2), "floats from 2 to 2"),
        (lambda path: npy_file(path, np.asfortranarray(ZEROS)), "in the order of C"),
        (lambda path: npy_file(path, ZEROS[:1]), "at least two"),
        (lambda path: f"npy:{path}", r"holds no train_images\.npy"),
        (lambda path: f"npy:{path}/absent", "absent does not exist"),
        (lambda path: f"folder:{path}/absent", "absent"),
    ],
)
def test_what_cannot_be_streamed(name, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        data.load(name(tmp_path), stream=True)
    assert "\n" not in str(caught.value)


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path):
    folder = write_pictures(tmp_path / "all", 12)
    images = data.load(f"folder:{folder}", stream=True, resolution=4).train.images
    for file in folder.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read .*\.png: .*; replace or delete it"):
        images[0]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_record_file_that_ends_early(cut, tmp_path):
    place = tmp_path / "some_set" / "1.0.0"
    write_images(place, {"train": 9, "test": 3}, file_format="tfrecord")
    file = next(place.glob("*train*00001*"))
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"cannot read split 'train'.*truncated"):
        data.load("tfds:some_set", tmp_path, stream=True)
