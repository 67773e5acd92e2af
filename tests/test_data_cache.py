"""The decoded cache: whole or absent, verified, private, and never in the way."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pytest

from jaxgen.data.readers import prepared
from jaxgen.data.storage import cache
from jaxgen.data.storage.fingerprints import fingerprint
from jaxgen.types import Split


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_splits(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "train": Split(
            rng.integers(0, 256, (20, 4, 3, 1), dtype=np.uint8),
            rng.integers(0, 10, 20, dtype=np.int32),
        ),
        "test": Split(rng.integers(0, 256, (5, 4, 3, 1), dtype=np.uint8), None),
    }


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return make_splits()


def assert_whole(dataset):
    expected = make_splits()
    assert dataset.fingerprint == fingerprint(expected)
    assert list(dataset.splits) == list(expected)
    for name, split in expected.items():
        np.testing.assert_array_equal(dataset.splits[name].images, split.images)
        assert dataset.splits[name].images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train.labels, expected["train"].labels)
    assert dataset.train.labels.dtype == np.int32
    assert dataset.test.labels is None


def entries(folder):
    return sorted((folder / "datasets").iterdir())


def test_makes_once(folder):
    maker = Maker()
    for _ in range(3):
        assert_whole(cache.cached("a:set", ("source", 1), maker))
    assert maker.calls == 1
    assert len(entries(folder)) == 1


def test_another_source_is_another_entry(folder):
    maker = Maker()
    cache.cached("set", ("source", 1), maker)
    cache.cached("set", ("source", 2), maker)
    assert maker.calls == 2
    assert len(entries(folder)) == 2


def test_is_private_and_free_of_pickles(folder):
    cache.cached("set", 1, make_splits)
    (entry,) = entries(folder)
    for path in (folder, folder / "datasets", entry):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    images = np.load(entry / "train-images.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(images, make_splits()["train"].images)


def flip_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "images": lambda entry: flip_bit(entry / "train-images.npy"),
    "labels": lambda entry: flip_bit(entry / "train-labels.npy"),
    "truncated": lambda entry: (entry / "test-images.npy").write_bytes(b"\x93NUMPY"),
    "empty": lambda entry: (entry / "test-images.npy").write_bytes(b""),
    "swapped": lambda entry: (entry / "test-images.npy").replace(entry / "train-images.npy"),
    "absent": lambda entry: (entry / "test-images.npy").unlink(),
    "no-record": lambda entry: (entry / "entry.json").unlink(),
    "bad-record": lambda entry: (entry / "entry.json").write_text('{"fingerprint": 3'),
    "other-record": lambda entry: (entry / "entry.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_made_anew(folder, damage):
    maker = Maker()
    cache.cached("set", 1, maker)
    (entry,) = entries(folder)
    damage(entry)
    assert_whole(cache.cached("set", 1, maker))
    assert maker.calls == 2
    assert_whole(cache.cached("set", 1, maker))
    assert maker.calls == 2
    assert entries(folder) == [entry]
    assert not (entry / "broken").exists()


def test_an_unusable_folder_costs_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert_whole(cache.cached("set", 1, make_splits))
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "JAXGEN_CACHE_DIR" in error
    assert str(tmp_path / "file") in error


def test_a_full_disk_leaves_nothing(folder, monkeypatch, capsys):
    def fail(file, *_, **__):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    assert_whole(cache.cached("set", 1, make_splits))
    assert "No space left" in capsys.readouterr().err
    assert entries(folder) == []


def test_an_error_of_the_maker_leaves_nothing(folder):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.cached("set", 1, fail)
    assert not folder.exists()


@pytest.mark.parametrize("broken", [False, True])
def test_many_at_once(folder, broken, capsys):
    if broken:
        cache.cached("set", 1, make_splits)
        flip_bit(entries(folder)[0] / "train-images.npy")
    start = threading.Barrier(8)
    results = []

    def maker():
        start.wait(timeout=20)  # all have found the cache empty before one of them writes
        return make_splits()

    threads = [
        threading.Thread(target=lambda: results.append(cache.cached("set", 1, maker)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert capsys.readouterr().err == ""
    for dataset in results:
        assert_whole(dataset)
    assert len(entries(folder)) == 1
    assert_whole(cache.cached("set", 1, lambda: pytest.fail("the entry is broken")))


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.directory() == tmp_path / "cache"
    monkeypatch.delenv("JAXGEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.directory() == tmp_path / "xdg" / "jaxgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == tmp_path / ".cache" / "jaxgen"


def change(field, value):
    splits = make_splits()
    splits["train"] = splits["train"]._replace(**{field: value(getattr(splits["train"], field))})
    return splits


CHANGES = {
    "pixel": lambda: change("images", lambda x: x ^ (np.indices(x.shape).sum(0) == 0)),
    "order": lambda: change("images", lambda x: x[::-1]),
    "shape": lambda: change("images", lambda x: x.reshape(20, 3, 4, 1)),
    "label": lambda: change("labels", lambda x: x + (np.arange(20) == 3).astype(np.int32)),
    "type": lambda: change("labels", lambda x: x.astype(np.int64)),
    "unlabelled": lambda: change("labels", lambda _: None),
    "name": lambda: {"train": make_splits()["train"], "other": make_splits()["test"]},
    "fewer": lambda: {"train": make_splits()["train"]},
}  # fmt: skip


@pytest.mark.parametrize("other", CHANGES.values(), ids=CHANGES.keys())
def test_fingerprint_tells_data_apart(other):
    assert fingerprint(other()) != fingerprint(make_splits())


def test_fingerprint_sees_content_only():
    splits = make_splits()
    images = np.asfortranarray(splits["train"].images)
    labels = np.asarray(splits["train"].labels, ">i4")
    same = {"test": splits["test"], "train": Split(images, labels)}
    assert fingerprint(same) == fingerprint(splits)


# --- whose the folder is ------------------------------------------------------------------------


def test_a_loose_folder_is_closed(folder):
    (folder / "datasets").mkdir(parents=True)
    (folder / "datasets").chmod(0o777)
    cache.cached("set", 1, make_splits)
    assert stat.S_IMODE((folder / "datasets").stat().st_mode) == 0o700


def test_the_folder_of_another_user_is_not_used(folder, monkeypatch, capsys):
    (folder / "datasets").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert_whole(cache.cached("set", 1, make_splits))
    assert "it belongs to another user" in capsys.readouterr().err
    assert entries(folder) == []


def test_an_entry_in_the_folder_of_another_user_is_not_read(folder, monkeypatch, capsys):
    cache.cached("set", 1, make_splits)
    maker = Maker()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert_whole(cache.cached("set", 1, maker))
    assert maker.calls == 1


def test_without_a_home_directory(no_home, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("JAXGEN_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    place = tmp_path / f"jaxgen-{os.getuid()}"
    assert cache.directory() == place
    assert prepared.default_dir() == place / "tensorflow_datasets"
    assert_whole(cache.cached("set", 1, make_splits))
    for path in (place, place / "datasets"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert capsys.readouterr().err == ""
    # Where another user was first, the whole folder is theirs.
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert_whole(cache.cached("other", 2, make_splits))
    assert "another user" in capsys.readouterr().err


def test_tilde_in_the_name_of_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JAXGEN_CACHE_DIR", "~/kept")
    assert cache.directory() == tmp_path / "kept"


# --- processes that are killed ------------------------------------------------------------------

KILLED = """
import os, signal, sys
import numpy as np
from jaxgen.data.storage import cache
from jaxgen.types import Split

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

np.save = die
cache.cached("set", 1, lambda: {"train": Split(np.zeros((2, 4, 4, 1), np.uint8), None)})
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(folder):
    done = subprocess.run([sys.executable, "-c", KILLED], env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    (leftover,) = entries(folder)
    assert leftover.name.startswith(".making-")
    with cache.working_folder(folder / "datasets", ".making-") as ours:
        cache.cached("other", 2, make_splits)
        assert ours.is_dir()  # in use
        assert leftover.is_dir()  # not known to be free
    cache.cached("other", 2, make_splits)
    assert [entry.name[:5] for entry in entries(folder)] == ["other"]


def test_what_a_killed_download_left_is_removed(folder):
    (folder / ".fetching-x").mkdir(parents=True)
    cache.remove_leftovers(folder, ".fetching-")
    assert list(folder.iterdir()) == []
