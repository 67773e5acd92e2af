"""Archives of arrays: what is read, and that no file can make it allocate or run anything."""

import io
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxgen import data
from jaxgen.data.readers import npz
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.npz"


def the_error(file) -> str:
    with pytest.raises(UserError) as caught:
        data.load(f"npz:{file}")
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(file, save):
    save(
        file,
        train_images=np.asfortranarray(IMAGES[:15]),
        train_labels=LABELS[:15].astype(">i8"),
        test_images=IMAGES[15:],
        test_labels=LABELS[15:, None],
    )
    loaded = data.load(f"npz:{file}")
    expected = data.from_arrays(IMAGES[:15], LABELS[:15], IMAGES[15:], LABELS[15:])
    assert loaded.name == f"npz:{file}"
    assert loaded.fingerprint == expected.fingerprint
    assert data.load(f"npz:{file}").fingerprint == expected.fingerprint  # from the cache


def test_tilde(file, monkeypatch):
    np.savez(file, train_images=IMAGES)
    monkeypatch.setenv("HOME", str(file.parent))
    assert data.load(f"npz:~/{file.name}").fingerprint == data.from_arrays(IMAGES).fingerprint


def test_floats_are_cached_and_resized(file):
    floats = (IMAGES / 255).repeat(4, 1).repeat(4, 2)
    np.savez(file, train_images=floats)
    whole = data.load(f"npz:{file}")
    assert whole.fingerprint == data.load(f"npz:{file}").fingerprint
    assert whole.train.images.dtype == np.float32
    small = data.load(f"npz:{file}", resolution=6, fit="squash").train.images
    assert small.dtype == np.float32
    assert small.shape == (18, 6, 6, 1)
    assert small.min() >= 0
    assert small.max() <= 1
    # The same as bytes, which Pillow rounds after each of its two passes.
    np.savez(file, train_images=np.rint(floats * 255).astype(np.uint8))
    of_bytes = data.load(f"npz:{file}", resolution=6, fit="squash").train.images
    np.testing.assert_allclose(small, of_bytes / 255, atol=2.5 / 255)


def test_other_arrays_are_named(file, capsys):
    np.savez(file, train_images=IMAGES, val_images=IMAGES, note=np.zeros(2))
    data.load(f"npz:{file}")
    assert capsys.readouterr().err == f"jaxgen: {file}: left out note, val_images\n"


def test_files_that_cannot_be_used(file):
    assert "No such file" in the_error(file)
    file.write_bytes(b"")
    assert "zip file" in the_error(file)
    np.savez(file, x_train=IMAGES, y_train=LABELS)
    message = the_error(file)
    assert "x_train, y_train" in message
    assert "train_images, train_labels, test_images, test_labels" in message
    np.savez(file, train_images=IMAGES / 127.5 - 1)
    assert "[-1, 1]" in the_error(file)
    file.unlink()
    file.mkdir()
    assert "Is a directory" in the_error(file)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled(file):
    np.savez(file, train_images=np.array([Bomb(), IMAGES], dtype=object), allow_pickle=True)
    assert "objects, which are not read" in the_error(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train_images.npy", pickle.dumps(Bomb()))
    assert "cannot read" in the_error(file)


def npy(shape, content: bytes, descr="|u1") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "member",
    [
        npy((10**6, 10**6, 10**6), b"abc"),
        npy((10**12,), b"abc"),
        npy((2, 2, 2), b"abc"),
        npy((2, 2, 2), b"a" * 9),
        npy((-1, 2, 2), bytes(2**21)),
        npy((2, 2, 2), b"a" * 8, "|V10000000"),
        npy((2**40, 0, 5), b""),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"",
    ],
)
def test_absurd_headers_allocate_nothing(file, member):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", member)
    tracemalloc.start()
    try:
        the_error(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_forged_size_in_the_directory_of_the_archive(file):
    np.savez(file, train_images=IMAGES)
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 2**32 - 2, 2**32 - 2)
    file.write_bytes(bytes(content))
    the_error(file)


def test_members_that_leave_their_folder_are_left_out(file, tmp_path, capsys):
    np.savez(file, train_images=IMAGES)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../evil.npy", npy((1,), b"x"))
    before = sorted(path for path in tmp_path.parent.rglob("*") if "cache" not in str(path))
    data.load(f"npz:{file}")
    assert "left out ../../evil" in capsys.readouterr().err
    assert sorted(p for p in tmp_path.parent.rglob("*") if "cache" not in str(p)) == before


def archive_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train_images=IMAGES[:3], train_labels=LABELS[:3])
    return buffer.getvalue()


ARCHIVE = archive_bytes()


@settings(
    max_examples=60, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, len(ARCHIVE) - 1),
    replacement=st.binary(min_size=0, max_size=8),
    cut=st.integers(0, 8),
)
def test_damaged_archives_are_refused_or_read_right(file, at, replacement, cut):
    file.write_bytes(ARCHIVE[:at] + replacement + ARCHIVE[at + cut :])
    refusal, splits = None, {}
    try:
        splits = npz.read(file)
    except UserError as error:
        refusal = str(error)
    if refusal is None:
        both = np.concatenate([splits["train"].images, splits["test"].images])
        assert sorted(both.sum((1, 2, 3))) == sorted(IMAGES[:3].astype(int).sum((1, 2)))
    else:
        assert "\n" not in refusal
