"""Folders as they are found: splits, formats, and a count of what is left out."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgen import data
from jaxgen.data.readers import folder as folder_reader
from jaxgen.data.readers import pictures as reader
from jaxgen.errors import UserError
from jaxgen.types import Split

ODD = os.fsdecode(b"caf\xe9")  # a name in Latin-1


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def write(folder: Path, count: int, first: int = 0, suffix: str = ".png"):
    """Grey pictures whose values count from `first`, so that each is known by any pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in range(first, first + count):
        Image.new("RGB", (4, 3), (value,) * 3).save(folder / f"{value:03d}{suffix}")


def values(split: Split) -> list[int]:
    return sorted(split.images[:, 0, 0, 0].tolist())


def labelled(split: Split) -> dict[int, int]:
    """The value of each picture -> its label."""
    assert split.labels is not None
    return dict(zip(split.images[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True))


def load(place, **options):
    return data.load(f"folder:{place}", **options)


def notes(capsys) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return [line.removeprefix("jaxgen: ") for line in err.splitlines()]


def the_error(place) -> str:
    with pytest.raises(UserError) as caught:
        load(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- splits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation", "Test"])
def test_two_splits(place, held_out, capsys):
    write(place / "train" / "cat", 5)
    write(place / "train" / "dog", 4, 10)
    write(place / held_out / "dog", 2, 20)
    write(place / held_out / "cat", 3, 30)
    loaded = load(place)
    assert labelled(loaded.train) == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 10: 1, 11: 1, 12: 1, 13: 1}
    assert labelled(loaded.test) == {20: 1, 21: 1, 30: 0, 31: 0, 32: 0}
    (line,) = notes(capsys)
    assert f"train (9 pictures), {held_out} (5 pictures)" in line or (
        f"{held_out} (5 pictures), train (9 pictures)" in line
    )
    assert f"{held_out} is test" in line
    assert load(place).fingerprint == loaded.fingerprint


def test_three_splits(place):
    for number, split in enumerate(("train", "valid", "test")):
        write(place / split / "cat", 3, 10 * number)
        write(place / split / "dog", 3, 10 * number + 5)
    (place / "labels.csv").write_text("beside the splits")
    loaded = load(place)
    assert set(loaded.splits) == {"train", "validation", "test"}
    assert values(loaded.train) == [0, 1, 2, 5, 6, 7]
    assert values(loaded.splits["validation"]) == [10, 11, 12, 15, 16, 17]
    assert values(loaded.test) == [20, 21, 22, 25, 26, 27]


def test_splits_without_classes(place):
    write(place / "train", 6)
    write(place / "test", 2, 10)
    loaded = load(place)
    assert values(loaded.train) == [0, 1, 2, 3, 4, 5]
    assert values(loaded.test) == [10, 11]
    assert loaded.train.labels is loaded.test.labels is None


@pytest.mark.parametrize("inside", ["", "unknown"])
def test_a_test_split_without_the_classes_of_train(place, inside):
    write(place / "train" / "cat", 3)
    write(place / "train" / "dog", 3, 5)
    write(place / "test" / inside, 2, 10)
    loaded = load(place)
    assert loaded.train.labels is not None
    assert loaded.test.labels is None


@pytest.mark.parametrize("names", [("train", "test1"), ("train_images", "Test-Images")])
def test_unlabelled_pictures_beside_train_as_kaggle_has_them(place, names, capsys):
    write(place / names[0], 6)
    write(place / names[1], 2, 10)
    loaded = load(place)
    assert values(loaded.train) == [0, 1, 2, 3, 4, 5]
    assert values(loaded.test) == [10, 11]
    assert loaded.train.labels is loaded.test.labels is None
    (line,) = notes(capsys)
    assert f"{names[1]} is test" in line


def test_names_that_begin_like_a_split_are_classes(place, capsys):
    for number, name in enumerate(("train", "trainer", "testament")):
        write(place / name, 6, 10 * number)
    loaded = load(place)
    assert set(labelled(loaded.train).values()) == {0, 1, 2}
    assert notes(capsys) == []


def test_train_alone_and_an_empty_test_split(place, capsys):
    write(place / "train" / "cat", 12)
    write(place / "train" / "dog", 12, 20)
    (place / "test").mkdir()
    loaded = load(place)
    assert sorted(values(loaded.train) + values(loaded.test)) == [*range(12), *range(20, 32)]
    assert set(labelled(loaded.train).values()) == {0, 1}
    lines = notes(capsys)
    assert "a tenth of train is held out" in lines[0]
    assert "no pictures in test" in lines[1]
    # The same as the folder train by itself.
    assert load(place / "train").fingerprint == loaded.fingerprint


def test_splits_one_folder_further_in(place):
    write(place / "dataset" / "train" / "cat", 4)
    write(place / "dataset" / "test" / "cat", 2, 10)
    (place / "__MACOSX" / "dataset").mkdir(parents=True)
    loaded = load(place)
    assert values(loaded.train) == [0, 1, 2, 3]
    assert values(loaded.test) == [10, 11]


def test_a_class_may_be_called_train(place, capsys):
    for number, name in enumerate(("boat", "plane", "train")):
        write(place / name, 6, 10 * number)
    loaded = load(place)
    both = labelled(loaded.train) | labelled(loaded.test)
    assert both == {10 * n + i: n for n in range(3) for i in range(6)}
    assert notes(capsys) == []


def test_splits_beside_another_folder_are_classes_and_said_so(place, capsys):
    for number, name in enumerate(("extra", "test", "train")):
        write(place / name, 6, 10 * number)
    assert set(labelled(load(place).train).values()) == {0, 1, 2}
    (line,) = notes(capsys)
    assert "test, train are read as classes, because extra beside them is no split" in line


def test_two_folders_for_one_split(place):
    for name in ("train", "val", "valid"):
        write(place / name, 3)
    assert "two mean one split" in the_error(place)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".bmp", ".gif", ".tif", ".tiff", ".jfif", ".jpe", ".ppm", ".jp2", ".dib", ".GIF"]
)
def test_other_formats(place, suffix, capsys):
    write(place / "cat", 6, suffix=suffix)
    write(place / "dog", 6, 100)
    loaded = load(place)
    both = labelled(loaded.train) | labelled(loaded.test)
    assert list(both.values()).count(0) == 6  # JPEG is not exact, but no picture is lost
    assert notes(capsys) == []


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_frame_of_an_animation(place, suffix, capsys):
    frames = [Image.new("RGB", (4, 3), (value,) * 3) for value in (10, 120, 240)]
    frames[0].save(place / f"a{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    write(place, 3)
    loaded = load(place)
    assert sorted(values(loaded.train) + values(loaded.test)) == [0, 1, 2, 10]
    assert notes(capsys) == [
        f"{place}: of 1 animations or documents of several pages the first frame is read"
    ]


def test_a_photograph_with_a_preview_is_no_animation(place, capsys):
    frames = [Image.new("RGB", (4, 3), (value,) * 3) for value in (10, 120)]
    frames[0].save(place / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    picture = reader.decode_picture(place / "a.jpg", None)
    assert not picture.frames_left
    np.testing.assert_allclose(picture.pixels, 10, atol=2)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 4), np.float32), "floats"),
        (np.full((3, 4), 2**20, np.int32), "more than 16 bits"),
    ],
)
def test_pixels_without_a_known_range(place, pixels, message):
    Image.fromarray(pixels).save(place / "a.tif")
    with pytest.raises(ValueError, match=message):
        reader.decode_picture(place / "a.tif", None)


def test_absurd_dimensions_are_refused_before_decoding(place, monkeypatch):
    Image.new("1", (9_000, 8_000)).save(place / "a.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="9000x8000 pixels are more than"):
        reader.decode_picture(place / "a.png", None)


# --- what is left out ---------------------------------------------------------------------------


def test_everything_left_out_is_counted_by_reason(place, capsys):
    write(place / "cat", 6)
    write(place / "dog", 6, 10)
    (place / "cat" / "notes.txt").write_text("")
    (place / "cat" / "LICENSE").write_text("")
    (place / "photo.heic").write_bytes(b"")
    (place / "dog" / ".DS_Store").write_bytes(b"")
    write(place / ".thumbnails", 2)
    (place / "dog" / "gone.png").symlink_to(place / "nowhere.png")
    (place / "dog" / "round.png").symlink_to("round.png")
    (place / "dog" / "again").symlink_to(place)
    os.mkfifo(place / "dog" / "pipe.png")
    (place / "gnu" / "inner").mkdir(parents=True)
    write(place / "gif", 1, suffix=".xyz.pcx")
    loaded = load(place)
    assert sorted(labelled(loaded.train) | labelled(loaded.test)) == [*range(6), *range(10, 16)]
    left_out, empty = notes(capsys)
    assert left_out == (
        f"{place}: left out 1 dangling links, 2 hidden, 1 links to what is read already, "
        "1 no regular files, 4 of other kinds (.heic, .pcx, .txt, no ending), "
        "1 out of reach (Too many levels of symbolic links)"
    )
    assert empty == f"{place}: no pictures in gif, gnu"


def test_runs_of_jaxgen_are_left_out_and_named(place, capsys):
    write(place, 6)
    for number, (name, beside) in enumerate((("a", "metrics.jsonl"), ("b", "checkpoints"))):
        run = place / "runs" / name
        write(run / "images", 2, 100 + number)
        (run / "config.json").write_text("{}")
        (run / beside).mkdir()
    loaded = load(place)
    assert loaded.train.labels is None
    assert len(loaded.train.images) + len(loaded.test.images) == 6
    (line,) = notes(capsys)
    assert "runs/a (a run of jaxgen), runs/b (a run of jaxgen)" in line


def test_a_link_to_a_class_does_not_take_its_pictures(place, capsys):
    write(place / "cat", 6)
    write(place / "dog", 6, 10)
    (place / "alias").symlink_to(place / "cat")
    loaded = load(place)
    assert (labelled(loaded.train) | labelled(loaded.test))[3] == 0
    assert set(labelled(loaded.train).values()) == {0, 1}
    left_out, empty = notes(capsys)
    assert left_out.endswith("left out 1 links to what is read already")
    assert empty.endswith("no pictures in alias")


def test_a_class_may_hold_a_file_called_config(place, capsys):
    write(place / "cat", 6)
    (place / "cat" / "config.json").write_text("{}")
    assert len(labelled(load(place).train)) == 5
    assert "of other kinds (.json)" in notes(capsys)[0]


def test_a_class_whose_pictures_cannot_be_read_is_named(place, capsys):
    write(place / "cat", 120)
    write(place / "dog", 1, 200)
    (place / "dog" / "200.png").write_bytes(b"")
    assert set(labelled(load(place).train).values()) == {0}
    unreadable, empty = notes(capsys)
    assert "dog/200.png" in unreadable
    assert empty == f"{place}: no training picture of dog"


def test_what_is_left_out_is_said_of_the_cached_pictures_too(place, capsys, monkeypatch):
    write(place / "cat", 120)
    write(place / "dog", 1, 200)
    (place / "cat" / "notes.txt").write_text("")
    (place / "dog" / "200.png").write_bytes(b"")
    frames = [Image.new("RGB", (4, 3), (value,) * 3) for value in (210, 220)]
    frames[0].save(place / "cat" / "a.gif", save_all=True, append_images=frames[1:])
    load(place)
    decoded = notes(capsys)
    assert len(decoded) == 4  # of another kind, unreadable, the first frame, the lost class
    monkeypatch.setattr(folder_reader, "decode_picture", lambda *_: pytest.fail("decoded again"))
    load(place)
    assert notes(capsys) == decoded


def test_a_class_folder_that_may_not_be_read_is_named(unprivileged, monkeypatch, capsys):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(unprivileged / "cache"))
    place = unprivileged / "pictures"
    write(place / "cat", 6)
    write(place / "dog", 6, 10)
    (place / "dog").chmod(0)
    try:
        assert values(load(place).train) == sorted(labelled(load(place).train))
        assert "left out dog (Permission denied)" in notes(capsys)[0]
        place.chmod(0)
        message = the_error(place)
        assert message.startswith(f"cannot read {place} (Permission denied)")
        place.chmod(0o400)  # its names can be listed, what they name cannot be reached
        assert "out of reach (Permission denied)" in the_error(place)
    finally:
        place.chmod(0o700)
        (place / "dog").chmod(0o700)


def test_names_that_are_not_utf8(tmp_path, capsys):
    place = tmp_path / ODD
    write(place / "cat", 3)
    write(place / ODD, 3, 10)
    (place / "cat" / "000.png").rename(place / "cat" / f"{ODD}.png")
    (place / f"{ODD}.txt").write_text("")
    loaded = load(place)
    both = labelled(loaded.train) | labelled(loaded.test)
    assert both == {0: 1, 1: 1, 2: 1, 10: 0, 11: 0, 12: 0}
    assert "caf\\xe9: left out 1 of other kinds (.txt)" in notes(capsys)[0]
    (place / "cat" / ODD).mkdir()
    (place / "cat" / ODD / "x.png").write_bytes(b"")
    assert "caf\\xe9/x.png" in the_error(place)


def test_names_beyond_ascii_in_the_c_locale(tmp_path):
    place = tmp_path / "für"
    write(place / "学", 3)
    write(place / "cat", 3, 10)
    (place / "note.txt").write_text("")
    program = (
        "from jaxgen import data; import sys; s = data.load('folder:' + sys.argv[1]);"
        "print(s.fingerprint)"
    )
    expected = load(place).fingerprint
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}  # paths are decoded as ASCII
    environment["JAXGEN_CACHE_DIR"] = str(tmp_path / "another")
    command = [sys.executable, "-c", program, os.fsencode(place)]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == expected
    assert done.stderr.count(b"\n") == 1
