"""Folders of pictures: every kind of file, the split, the cache, and what is said of bad ones."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgen import data
from jaxgen.data.readers import folder, glyphs
from jaxgen.data.readers import pictures as pictures_module
from jaxgen.data.readers._listing import find_pictures
from jaxgen.data.resizing import Square
from jaxgen.errors import UserError
from jaxgen.types import Split

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x112  # the EXIF tag


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


def colours(count, size=(6, 4), seed=0):
    """Pictures of one random colour each, so that any one is known by its first pixel."""
    rng = np.random.default_rng(seed)
    return [Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist())) for _ in range(count)]


def write_many(path: Path, count: int, suffix=".png"):
    path.mkdir(exist_ok=True, parents=True)
    for i, image in enumerate(colours(count, seed=count)):
        image.save(path / f"{i:03d}{suffix}")


def corners():
    """Four colours, one in each quarter: red and green above blue and white."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:4, :6], pixels[:4, 6:], pixels[4:, :6], pixels[4:, 6:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(pixels)


def load(path, **options):
    return data.load(f"folder:{path}", **options)


def the_error(path, **options):
    with pytest.raises(UserError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def labels_of(split: Split) -> np.ndarray:
    assert split.labels is not None
    return split.labels


def decoded(file, target=None):
    return pictures_module.decode_picture(file, target).pixels


# --- kinds of files -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".JPG"])
def test_formats(pictures, suffix):
    Image.new("RGB", (5, 4), (200, 100, 50)).save(pictures / f"a{suffix}", quality=95)
    pixels = decoded(pictures / f"a{suffix}")
    assert pixels.shape == (4, 5, 3)
    assert pixels.dtype == np.uint8
    # JPEG and WebP round in another colour space.
    np.testing.assert_allclose(pixels, np.broadcast_to((200, 100, 50), (4, 5, 3)), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(pictures, orientation):
    # What a camera stores so that a viewer that obeys the tag shows `corners`.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = corners().transpose(undo[orientation]) if orientation > 1 else corners()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(pictures / "a.png", exif=exif)
    np.testing.assert_array_equal(decoded(pictures / "a.png"), np.asarray(corners()))
    stored.resize((stored.width * 16, stored.height * 16), 0).save(
        pictures / "a.jpg", exif=exif, quality=95
    )
    shown = decoded(pictures / "a.jpg", Square(8, "squash"))  # decoded at a part of its size
    for place, colour in {(1, 1): RED, (1, 6): GREEN, (6, 1): BLUE, (6, 6): WHITE}.items():
        np.testing.assert_allclose(shown[place], colour, atol=6)


def test_grey_cmyk_and_palettes_become_rgb(pictures):
    Image.new("L", (3, 2), 77).save(pictures / "grey.png")
    Image.new("1", (3, 2), 1).save(pictures / "bits.png")
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(pictures / "cmyk.jpg", quality=95)
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([*BLUE, *GREEN])
    palette.save(pictures / "palette.png")
    for name, colour in {
        "grey.png": (77, 77, 77),
        "bits.png": WHITE,
        "cmyk.jpg": RED,
        "palette.png": GREEN,
    }.items():
        expected = np.broadcast_to(colour, (2, 3, 3))
        np.testing.assert_allclose(decoded(pictures / name), expected, atol=2, err_msg=name)


def test_sixteen_bits_become_eight(pictures):
    values = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(pictures / "a.png")
    pixels = decoded(pictures / "a.png")
    np.testing.assert_array_equal(pixels[0], [[v] * 3 for v in (0, 0, 1, 128, 255)])


def test_transparent_parts_are_white(pictures):
    half = np.zeros((1, 3, 4), np.uint8)
    half[0] = [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)]
    Image.fromarray(half).save(pictures / "rgba.png")
    expected = [RED, WHITE, (127, 127, 127)]
    np.testing.assert_allclose(decoded(pictures / "rgba.png")[0], expected, atol=1)
    Image.fromarray(half).save(pictures / "rgba.webp", lossless=True, exact=True)
    np.testing.assert_allclose(decoded(pictures / "rgba.webp")[0], expected, atol=1)

    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((1, 0), 1)
    palette.save(pictures / "palette.png", transparency=1)
    np.testing.assert_array_equal(decoded(pictures / "palette.png")[0], [RED, WHITE])

    grey = Image.fromarray(np.array([[[40, 255], [40, 0]]], np.uint8))
    assert grey.mode == "LA"
    grey.save(pictures / "grey.png")
    np.testing.assert_array_equal(decoded(pictures / "grey.png")[0], [(40, 40, 40), WHITE])


def test_other_formats_under_a_known_name_are_refused(pictures):
    Image.new("RGB", (3, 2)).save(pictures / "a.png", format="PCX")
    with pytest.raises(OSError, match="cannot identify"):
        decoded(pictures / "a.png")


# --- resizing -----------------------------------------------------------------------------------


def test_crop_keeps_the_middle_and_squash_everything(pictures):
    bands = np.zeros((30, 90, 3), np.uint8)
    bands[:, :30], bands[:, 30:60], bands[:, 60:] = RED, GREEN, BLUE
    Image.fromarray(bands).save(pictures / "wide.png")
    Image.fromarray(bands.swapaxes(0, 1)).save(pictures / "high.png")
    for name in ("wide.png", "high.png"):
        cropped = decoded(pictures / name, Square(6, "crop"))
        # At its borders the filter sees a little of what lies beyond.
        np.testing.assert_array_equal(cropped[1:5, 1:5], np.broadcast_to(GREEN, (4, 4, 3)))
        np.testing.assert_allclose(cropped, np.broadcast_to(GREEN, (6, 6, 3)), atol=25)
        squashed = decoded(pictures / name, Square(6, "squash"))
        squashed = squashed if name == "wide.png" else squashed.swapaxes(0, 1)
        for column, colour in ((0, RED), (5, BLUE)):
            np.testing.assert_allclose(squashed[:, column], [colour] * 6, atol=16)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_shrinking_is_antialiased(pictures, suffix):
    """A chessboard of single pixels becomes grey; one pixel in eight would be black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(pictures / f"a{suffix}", quality=95)
    pixels = decoded(pictures / f"a{suffix}", Square(8, "crop"))
    np.testing.assert_allclose(pixels, 127.5, atol=3)


def test_a_large_jpeg_looks_the_same_as_if_it_were_decoded_whole(pictures):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 20, 3)).astype(np.uint8))
    coarse.resize((640, 384), Image.Resampling.BICUBIC).save(pictures / "a.jpg", quality=95)
    Image.open(pictures / "a.jpg").save(pictures / "a.png")
    for fit in ("crop", "squash"):
        from_part = decoded(pictures / "a.jpg", Square(32, fit)).astype(float)
        from_whole = decoded(pictures / "a.png", Square(32, fit)).astype(float)
        # Measured: 0.8 grey levels; a shift by one pixel would be 20.
        assert abs(from_part - from_whole).mean() < 1.5


# --- folders, labels and splits -----------------------------------------------------------------


def test_sub_folders_are_classes_in_the_order_of_their_names(pictures):
    for number, name in enumerate(("zebra", "ape", "gnu/nested")):
        write_many(pictures / name, 20 + number)
    (pictures / "empty").mkdir()
    write_many(pictures / ".thumbnails", 3)
    (pictures / "ape" / "._000.png").write_bytes(b"a fork that some systems leave")
    (pictures / "notes.txt").write_text("no picture")
    loaded = load(pictures)
    assert set(loaded.splits) == {"train", "test"}
    labels = np.concatenate([labels_of(split) for split in loaded.splits.values()])
    assert np.bincount(labels).tolist() == [21, 22, 20]
    assert labels.dtype == np.int32
    # Every picture has the label of its folder: the colour tells which picture it is.
    known = {
        Image.open(file).getpixel((0, 0)): number
        for number, name in enumerate(("ape", "gnu", "zebra"))
        for file in (pictures / name).rglob("[0-9]*.png")
    }
    for split in loaded.splits.values():
        for image, label in zip(split.images, labels_of(split), strict=True):
            assert known[tuple(image[0, 0].tolist())] == label
    assert len(set(labels_of(loaded.train)[:10].tolist())) > 1  # the classes are mixed


def test_a_flat_folder_has_no_labels(pictures):
    write_many(pictures, 30)
    loaded = load(pictures)
    assert loaded.train.labels is None
    assert loaded.test.labels is None
    assert len(loaded.train.images) + len(loaded.test.images) == 30


def first_pixels(split):
    return {tuple(image[0, 0].tolist()) for image in split.images}


def test_the_split_depends_on_names_and_seed_alone(pictures, tmp_path):
    write_many(pictures, 200)
    loaded = load(pictures)
    held_out = first_pixels(loaded.test)
    # 20 expected, with a standard deviation of 4.2.
    assert 6 <= len(held_out) <= 34
    assert not held_out & first_pixels(loaded.train)

    elsewhere = tmp_path / "elsewhere"
    pictures.rename(elsewhere)
    again = load(elsewhere)
    assert again.fingerprint == loaded.fingerprint
    assert first_pixels(load(elsewhere, seed=1).test) != held_out

    gone = sorted(elsewhere.iterdir())[::2]
    left = {Image.open(file).getpixel((0, 0)) for file in set(elsewhere.iterdir()) - set(gone)}
    for file in gone:
        file.unlink()
    assert first_pixels(load(elsewhere).test) == held_out & left


@pytest.mark.parametrize("seed", range(4))
def test_both_splits_have_a_picture(pictures, seed):
    write_many(pictures, 2)
    loaded = load(pictures, seed=seed)
    assert len(loaded.train.images) == len(loaded.test.images) == 1


def test_links_are_followed_but_not_in_circles(pictures, tmp_path):
    write_many(tmp_path / "elsewhere", 5)
    (pictures / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(pictures)
    assert len(find_pictures(pictures)["train"].names) == 5


# --- cache --------------------------------------------------------------------------------------


def test_a_second_load_decodes_nothing(pictures, monkeypatch):
    write_many(pictures, 12)
    first = load(pictures, resolution=4)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "read", lambda *_: pytest.fail("decoded again"))
        assert load(pictures, resolution=4).fingerprint == first.fingerprint
        patch.undo()
        calls = []
        patch.setattr(folder, "read", lambda *args: calls.append(args) or first.splits)
        for options in ({"resolution": 5}, {"resolution": 4, "fit": "squash"}, {"seed": 1}):
            load(pictures, **{"resolution": 4} | options)
        one = next(pictures.iterdir())
        os.utime(one, ns=(1, 1))
        load(pictures, resolution=4)
        one.rename(one.with_stem("renamed"))
        load(pictures, resolution=4)
        assert len(calls) == 5


# --- what cannot be read ------------------------------------------------------------------------


def damage(file: Path, kind: str):
    content = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("<html>404</html>")
    else:  # a byte of the pixels' data, so that its checksum fails
        at = content.index(b"IDAT") + 8
        file.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "corrupt"])
def test_one_bad_picture_in_a_hundred_is_named_and_left_out(pictures, kind, capsys):
    write_many(pictures / "a", 60)
    write_many(pictures / "b", 40)
    bad = pictures / "b" / "007.png"
    colour = Image.open(bad).getpixel((0, 0))
    damage(bad, kind)
    loaded = load(pictures)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"1 of the 100 pictures .*b/007\.png \(", line)
    assert sum(len(split.images) for split in loaded.splits.values()) == 99
    assert sum(len(labels_of(split)) for split in loaded.splits.values()) == 99
    assert colour not in first_pixels(loaded.train) | first_pixels(loaded.test)


def test_a_split_whose_pictures_are_all_damaged_is_an_error(pictures):
    write_many(pictures / "train", 150)
    write_many(pictures / "test", 1)
    damage(pictures / "test" / "000.png", "truncated")
    assert "none of the test pictures of" in the_error(pictures)


def test_a_truncated_jpeg_is_left_out_too(pictures, capsys):
    write_many(pictures, 110)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(pictures / "photo.jpg")
    damage(pictures / "photo.jpg", "truncated")
    load(pictures, resolution=4)
    assert re.search(r"photo\.jpg \(.*truncated", capsys.readouterr().err)


def test_more_than_one_in_a_hundred_is_an_error(pictures, tmp_path):
    write_many(pictures, 199)
    for name in ("003.png", "050.png"):
        damage(pictures / name, "truncated")
    message = the_error(pictures)
    assert "2 of the 199 pictures" in message
    assert "003.png" in message
    assert "050.png" in message
    assert not list((tmp_path / "cache").rglob("entry.json"))
    for file in pictures.iterdir():
        damage(file, "text")
    assert "and 189 more" in the_error(pictures, resolution=4)
    assert "none of the 199 pictures" in the_error(pictures)


def test_a_picture_larger_than_pillow_trusts_is_left_out(pictures, capsys):
    write_many(pictures, 110)

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (pictures / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    load(pictures, resolution=4)
    assert "bomb.png" in capsys.readouterr().err


def test_sizes_that_differ_take_a_resolution(pictures):
    write_many(pictures, 5)
    Image.new("RGB", (7, 4)).save(pictures / "odd.png")
    message = the_error(pictures)
    assert "7x4" in message
    assert "6x4" in message
    assert "resolution" in message
    assert load(pictures, resolution=4).train.images.shape[1:] == (4, 4, 3)


def test_folders_that_cannot_be_used(tmp_path, pictures):
    assert "does not exist" in the_error(tmp_path / "nowhere")
    assert "is empty" in the_error(pictures)
    (pictures / "notes.txt").write_text("")
    assert "holds no picture (left out 1 of other kinds (.txt))" in the_error(pictures)
    write_many(pictures, 1)
    assert "one picture" in the_error(pictures)
    write_many(pictures, 3)
    assert "is not a directory" in the_error(pictures / "000.png")
    write_many(pictures / "class", 3)
    message = the_error(pictures)
    assert "beside them (000.png)" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 0}, "resolution to be a whole number of at least 1, got 0"),
        ({"resolution": -4}, "resolution"),
        ({"resolution": 4.5}, "resolution to be a whole number of at least 1, got 4.5"),
        ({"resolution": (4, 4)}, "resolution"),
        ({"resolution": 4, "fit": "stretch"}, "fit crop or squash, got 'stretch'"),
    ],
)
def test_impossible_options_are_user_errors(pictures, options, message):
    write_many(pictures, 3)
    with pytest.raises(UserError, match=message):
        load(pictures, **options)


def test_a_resolution_may_be_of_any_type_of_number(pictures):
    write_many(pictures, 3)
    for resolution in (4.0, np.int64(4)):
        assert load(pictures, resolution=resolution).train.images.shape[1:] == (4, 4, 3)


def test_progress_is_shown_on_a_terminal_only(pictures, capsys, monkeypatch):
    write_many(pictures, 20)
    load(pictures, resolution=4)
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    load(pictures, resolution=5)
    assert "decoding pictures" in terminal.getvalue()
    assert "/20 " in terminal.getvalue()


# --- other sets, resized ------------------------------------------------------------------------


def test_a_set_of_arrays_is_resized_and_cached_apart(monkeypatch):
    rng = np.random.default_rng(0)
    splits = {
        name: Split(
            rng.integers(0, 256, (count, 7, 7, 1)).astype(np.uint8).repeat(4, 1).repeat(4, 2),
            rng.integers(0, 10, count).astype(np.int32),
        )
        for name, count in (("train", 30), ("test", 10))
    }
    monkeypatch.setattr(glyphs, "draw", lambda: splits)
    whole, small = data.load("glyphs"), data.load("glyphs", resolution=7)
    assert small.train.images.shape == (30, 7, 7, 1)
    assert small.test.images.shape == (10, 7, 7, 1)
    np.testing.assert_array_equal(small.train.labels, whole.train.labels)
    # A pixel for every square of 4 x 4, into which the filter mixes a little of its neighbours.
    wanted = whole.train.images[:, ::4, ::4].astype(float)
    assert np.corrcoef(wanted.ravel(), small.train.images.ravel())[0, 1] > 0.95
    assert data.load("glyphs").fingerprint == whole.fingerprint


def test_prepared_photographs_are_resized(real_data):
    loaded = data.load("tfds:oxford_flowers102", real_data / "tfds", resolution=16)
    assert {name: split.images.shape for name, split in loaded.splits.items()} == {
        "train": (1020, 16, 16, 3),
        "validation": (1020, 16, 16, 3),
        "test": (6149, 16, 16, 3),
    }


def test_real_photographs(real_data):
    loaded = load(real_data / "animals", resolution=16)
    labels = np.concatenate([labels_of(split) for split in loaded.splits.values()])
    assert np.bincount(labels).tolist() == [400, 400, 400]
    assert 80 <= len(loaded.test.images) <= 160
