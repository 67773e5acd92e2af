"""Prepared tensorflow-datasets directories, read without TensorFlow."""

import hashlib
import importlib
import io
import json
import shutil
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgen import data
from jaxgen.data.readers import decoding, prepared
from jaxgen.data.readers.decoding import decode_images
from jaxgen.data.readers.records import parse_example, read_records
from jaxgen.data.resizing import Square
from jaxgen.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protocol buffer message."""

    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def example(**features: bytes | int) -> bytes:
    """A serialized tf.train.Example."""
    entries = b""
    for key, value in features.items():
        values = (
            field(1, field(1, value)) if isinstance(value, bytes) else field(3, field(1, value))
        )
        entries += field(1, field(1, key.encode()) + field(2, values))
    return field(1, entries)


def image_feature(channels=1, dtype="uint8"):
    dimensions = {"dimensions": ["-1", "-1", str(channels)]}
    return {
        "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
        "image": {"dtype": dtype, "shape": dimensions},
    }


LABEL = {
    "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
    "classLabel": {"numClasses": "10"},
}


def write_prepared(folder, splits, features, file_format="array_record"):
    """Writes `splits`, name -> shards of serialized examples, as tensorflow-datasets does."""
    folder.mkdir(parents=True)
    name = "some_set"
    infos = []
    for split, shards in splits.items():
        for number, records in enumerate(shards):
            file = f"{name}-{split}.{file_format}-{number:05}-of-{len(shards):05}"
            if file_format == "array_record":
                from array_record.python.array_record_module import ArrayRecordWriter

                writer = ArrayRecordWriter(str(folder / file), "group_size:1")
            else:
                from tensorboardX.record_writer import RecordWriter

                writer = RecordWriter(str(folder / file))
            for record in records:
                writer.write(record)
            writer.close()
        infos.append(
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": [str(len(records)) for records in shards],
                "numBytes": "1",
            }
        )
    info = {"name": name, "version": folder.name, "fileFormat": file_format, "splits": infos}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    root = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    tree = {"pythonClassName": root, "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(tree))


def random_images(number, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, 6, 5, channels), dtype=np.uint8)


def write_images(folder, sizes, channels=1, labelled=True, file_format="array_record"):
    """A set whose splits have `sizes` examples, in two shards each; split name -> images."""
    images = {s: random_images(n, channels, i) for i, (s, n) in enumerate(sizes.items())}
    features = {"image": image_feature(channels), **({"label": LABEL} if labelled else {})}
    shards = {}
    for split, pixels in images.items():
        records = [
            example(image=png(image), **({"label": i % 10} if labelled else {}))
            for i, image in enumerate(pixels)
        ]
        shards[split] = [records[:2], records[2:]]
    write_prepared(folder, shards, features, file_format)
    return images


def the_error(name, folder):
    with pytest.raises(UserError) as caught:
        data.load(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_reads_every_split_in_order(tmp_path, file_format, channels, labelled):
    sizes = {"train": 13, "validation": 4, "test": 5}
    images = write_images(tmp_path / "some_set" / "1.0.0", sizes, channels, labelled, file_format)
    dataset = data.load("tfds:some_set", tmp_path)
    assert dataset.name == "tfds:some_set"
    assert list(dataset.splits) == list(sizes)
    for split, pixels in images.items():
        found = dataset.splits[split]
        assert found.images.dtype == np.uint8
        assert found.images.flags.c_contiguous
        np.testing.assert_array_equal(found.images, pixels)
        if labelled:
            assert found.labels is not None
            assert found.labels.dtype == np.int32
            np.testing.assert_array_equal(found.labels, np.arange(len(pixels)) % 10)
        else:
            assert found.labels is None


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
    write_images(tmp_path / "some_set" / "1.0.0", {"train": 3, "test": 3})
    first = data.load("tfds:some_set", tmp_path)
    monkeypatch.setattr(prepared, "read", lambda path: pytest.fail("decoded again"))
    second = data.load("tfds:some_set", tmp_path)
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.train.images, first.train.images)


def test_takes_the_newest_version(tmp_path):
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        write_images(tmp_path / "some_set" / version, {"train": 3, "test": 3})
    (tmp_path / "some_set" / "9.0.0.incomplete").mkdir()
    assert prepared.find("some_set", tmp_path) == tmp_path / "some_set" / "1.10.0"
    assert prepared.find("other_set", tmp_path) is None


def test_configurations(tmp_path):
    images = write_images(tmp_path / "some_set" / "letters" / "1.0.0", {"train": 3, "test": 3})
    for name in ("tfds:some_set", "tfds:some_set/letters"):
        np.testing.assert_array_equal(data.load(name, tmp_path).train.images, images["train"])
    write_images(tmp_path / "some_set" / "digits" / "1.0.0", {"train": 3, "test": 3})
    message = the_error("tfds:some_set", tmp_path)
    assert "tfds:some_set/digits, tfds:some_set/letters" in message


@pytest.mark.parametrize("inside", ["", "some_set", "some_set/letters", "some_set/letters/1.0.0"])
@pytest.mark.parametrize("name", ["some_set/letters", "some_set/letters:1.0.0", "some_set"])
def test_a_data_dir_that_is_too_deep(tmp_path, inside, name, monkeypatch):
    write_images(tmp_path / "some_set" / "letters" / "1.0.0", {"train": 3, "test": 3})
    images = data.load(f"tfds:{name}", tmp_path / inside).train.images
    assert len(images) == 3
    monkeypatch.chdir(tmp_path / inside)
    monkeypatch.setenv("HOME", str(tmp_path / inside))
    for data_dir in (".", "~", Path(".")):
        np.testing.assert_array_equal(data.load(f"tfds:{name}", data_dir).train.images, images)


def test_a_deep_data_dir_chooses(tmp_path):
    """Of several versions and configurations the one that the folder names."""
    for config in ("digits", "letters"):
        for version in ("1.0.0", "2.0.0"):
            folder = tmp_path / "some_set" / config / version
            write_images(folder, {"train": 3, "test": 3})
            assert prepared.find("some_set", folder) == folder
    assert prepared.find("some_set", tmp_path / "some_set" / "digits") == (
        tmp_path / "some_set" / "digits" / "2.0.0"
    )


@pytest.mark.parametrize("separator", ["/", ":"])
def test_versions_by_name(tmp_path, separator):
    for version in ("1.9.0", "1.10.0"):
        write_images(tmp_path / "some_set" / version, {"train": 3, "test": 3})
    for version in ("1.9.0", "1.10.0"):
        folder = tmp_path / "some_set" / version
        assert prepared.find(f"some_set{separator}{version}", tmp_path) == folder
    message = the_error(f"tfds:some_set{separator}1.2.0", tmp_path)
    assert "does not hold version 1.2.0" in message
    assert "tfds:some_set/1.9.0, tfds:some_set/1.10.0" in message
    assert data.load("tfds:some_set/1.9.0", tmp_path).name == "tfds:some_set/1.9.0"


def test_emnist_is_turned_upright(tmp_path, capsys):
    images = write_images(tmp_path / "emnist" / "letters" / "3.1.0", {"train": 3, "test": 3})
    info = tmp_path / "emnist" / "letters" / "3.1.0" / "dataset_info.json"
    record = json.loads(info.read_text())
    info.write_text(json.dumps({**record, "name": "emnist"}))
    for file in info.parent.glob("some_set-*"):
        file.rename(file.with_name(file.name.replace("some_set", "emnist")))
    for _ in range(2):
        loaded = data.load("tfds:emnist/letters", tmp_path)
        np.testing.assert_array_equal(loaded.train.images, images["train"].swapaxes(1, 2))
        assert capsys.readouterr().err.count("rows and columns are exchanged\n") == 1


def test_validation_serves_as_test(tmp_path):
    images = write_images(tmp_path / "some_set" / "1.0.0", {"train": 6, "validation": 4})
    dataset = data.load("tfds:some_set", tmp_path)
    assert set(dataset.splits) == {"train", "validation", "test"}
    np.testing.assert_array_equal(dataset.test.images, images["validation"])
    assert len(dataset.train.images) == 6


def test_a_tenth_of_train_serves_as_test(tmp_path):
    images = write_images(tmp_path / "some_set" / "1.0.0", {"train": 25})
    dataset = data.load("tfds:some_set", tmp_path)
    np.testing.assert_array_equal(dataset.train.images, images["train"][:23])
    np.testing.assert_array_equal(dataset.test.images, images["train"][23:])
    assert dataset.train.labels is not None
    assert dataset.test.labels is not None
    assert len(dataset.train.labels) == 23
    np.testing.assert_array_equal(dataset.test.labels, [3, 4])


def test_no_train_split(tmp_path):
    write_images(tmp_path / "some_set" / "1.0.0", {"test": 3})
    assert "no split train" in the_error("tfds:some_set", tmp_path)


def test_images_of_several_sizes(tmp_path):
    records = [example(image=png(np.zeros(s, np.uint8))) for s in ((4, 5), (6, 5), (5, 5))]
    write_prepared(
        tmp_path / "some_set" / "1.0.0", {"train": [records]}, {"image": image_feature()}
    )
    message = the_error("tfds:some_set", tmp_path)
    assert (
        "differ in size (from 4x5 to 6x5): pass --resolution 4 (in Python: resolution=4)" in message
    )
    # The remedy, followed:
    loaded = data.load("tfds:some_set", tmp_path, resolution=4)
    assert loaded.train.images.shape[1:] == (4, 4, 1)


def test_splits_of_several_sizes(tmp_path):
    feature = image_feature()
    small, large = (example(image=png(np.zeros(s, np.uint8))) for s in ((4, 5), (6, 5)))
    write_prepared(
        tmp_path / "some_set" / "1.0.0",
        {"train": [[small, small]], "test": [[large]]},
        {"image": feature},
    )
    assert "differ in size (from 4x5 to 6x5): pass --resolution 4" in the_error(
        "tfds:some_set", tmp_path
    )
    loaded = data.load("tfds:some_set", tmp_path, resolution=4)
    assert loaded.train.images.shape == (2, 4, 4, 1)
    assert loaded.test.images.shape == (1, 4, 4, 1)


@pytest.mark.parametrize(
    "features",
    [
        {"label": LABEL},
        {"image": image_feature(dtype="uint16")},
        {"a": image_feature(), "b": image_feature()},
    ],
    ids=["none", "16-bit", "two"],
)
def test_not_a_set_of_images(tmp_path, features):
    write_prepared(tmp_path / "some_set" / "1.0.0", {"train": [[example(label=1)]]}, features)
    assert "no set of 8-bit images" in the_error("tfds:some_set", tmp_path)


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-5]),
    "cut in half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "absent": lambda file: file.unlink(),
    "flipped": lambda file: file.write_bytes(file.read_bytes().replace(b"IDAT", b"IDAT\x81", 1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_damaged_records(tmp_path, damage, file_format):
    folder = tmp_path / "some_set" / "1.0.0"
    write_images(folder, {"train": 9, "test": 3}, file_format=file_format)
    damage(folder / f"some_set-train.{file_format}-00001-of-00002")
    message = the_error("tfds:some_set", tmp_path)
    assert str(folder) in message
    assert "'train'" in message
    assert not (tmp_path / "cache" / "datasets").exists()


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_metadata(tmp_path, file):
    folder = tmp_path / "some_set" / "1.0.0"
    write_images(folder, {"train": 3, "test": 3})
    (folder / file).write_text("{")
    assert str(folder) in the_error("tfds:some_set", tmp_path)


def test_features_of_another_package_are_refused(tmp_path):
    """tensorflow-datasets would import the module that features.json names."""
    folder = tmp_path / "some_set" / "1.0.0"
    write_images(folder, {"train": 3, "test": 3})
    text = (folder / "features.json").read_text()
    (folder / "features.json").write_text(
        text.replace("tensorflow_datasets.core.features.image_feature.Image", "antigravity.Image")
    )
    assert "names antigravity.Image" in the_error("tfds:some_set", tmp_path)


def test_absurd_dimensions_of_a_png_file_allocate_nothing(monkeypatch):
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    file = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    file += struct.pack(">I", zlib.crc32(chunk)) + png(np.zeros((4, 4), np.uint8))[33:]
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("allocated"))
    with pytest.raises(ValueError, match="cannot have 2147483647x2147483647 pixels"):
        decode_images([file], 1)
    with pytest.raises(Image.DecompressionBombError):
        decode_images([file], 3)


def test_a_png_file_that_holds_more_than_its_header_says():
    file = png(np.zeros((4, 4), np.uint8))
    packed = zlib.compress(bytes(10**7))
    chunk = b"IDAT" + packed
    start = file.index(b"IDAT") - 4
    bomb = file[:start] + struct.pack(">I", len(packed)) + chunk
    bomb += struct.pack(">I", zlib.crc32(chunk)) + file[-12:]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="damaged"):
            decode_images([bomb], 1)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


PNG = png(np.arange(30, dtype=np.uint8).reshape(6, 5))


@settings(max_examples=150, deadline=5000)
@given(at=st.integers(0, len(PNG) - 1), replacement=st.binary(max_size=6), cut=st.integers(0, 6))
@pytest.mark.parametrize("target", [None, Square(3, "crop")])
def test_damaged_png_files_are_refused_or_decoded(target, at, replacement, cut):
    file = PNG[:at] + replacement + PNG[at + cut :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            images = decode_images([file], 1, target)
        except Exception as error:  # prepared.read makes one line of any of them
            assert not isinstance(error, MemoryError)  # noqa: PT017
            return
    assert images.dtype == np.uint8
    assert images.nbytes < 2**24


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_record_files_of_noise_are_refused(tmp_path, file_format):
    """A header that promises more than the file holds is an error, not an allocation."""
    rng = np.random.default_rng(0)
    good = tmp_path / "good" / "1.0.0"
    write_images(good, {"train": 4}, file_format=file_format)
    content = (good / f"some_set-train.{file_format}-00001-of-00002").read_bytes()
    file = tmp_path / "file"
    for number in range(40):
        damaged = bytearray(content)
        at = rng.integers(0, len(content), 4) if number % 2 else np.arange(8 * (number // 2), 8)
        damaged = bytearray(content) if len(at) else bytearray(rng.bytes(300))
        for place in at:
            damaged[place % len(content)] = 255
        file.write_bytes(bytes(damaged))
        try:
            records = read_records(file, file_format)
        except Exception as error:
            assert not isinstance(error, MemoryError)  # noqa: PT017
            continue
        assert sum(map(len, records)) <= len(content) * 100


def test_examples_agree_with_the_protocol_buffer_library():
    proto = importlib.import_module("tensorflow_datasets.proto.tf_example_generated_pb2")
    message = proto.Example()
    values = {"image": b"\x00\x01" * 300, "name": b"", "label": 7, "far": 2**40, "minus": -3}
    for key, value in values.items():
        feature = message.features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.extend([value, 99])
    message.features.feature["floats"].float_list.value.extend([1.5, 2.5])
    message.features.feature["nothing"].bytes_list.SetInParent()
    expected = {**values, "name": b"", "floats": None, "nothing": None}
    assert parse_example(message.SerializeToString()) == expected
    unpacked = example(image=b"abc", label=300)
    assert parse_example(unpacked) == {"image": b"abc", "label": 300}
    assert proto.Example.FromString(unpacked).features.feature["label"]


@pytest.mark.parametrize("cut", [1, 20])
def test_a_record_file_that_ends_early(tmp_path, cut):
    write_images(tmp_path / "set" / "1.0.0", {"train": 4}, file_format="tfrecord")
    file = tmp_path / "set" / "1.0.0" / "some_set-train.tfrecord-00000-of-00002"
    assert len(read_records(file, "tfrecord")) == 2
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="truncated"):
        read_records(file, "tfrecord")


def test_unknown_record_format(tmp_path):
    with pytest.raises(ValueError, match="parquet is not supported"):
        read_records(tmp_path / "file", "parquet")


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (4, 6)])
def test_row_filters_agree_with_pillow(channels, colour_type):
    # Any bytes are a valid filtered image, so every filter is met with every neighbourhood.
    rng = np.random.default_rng(channels)
    height, width = 9, 7
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    files = []
    for _ in range(200):
        rows = rng.integers(0, 256, (height, 1 + width * channels), dtype=np.uint8)
        rows[:, 0] = rng.integers(0, 5, height)
        file = b"\x89PNG\r\n\x1a\n"
        packed = zlib.compress(rows.tobytes())
        chunks = [(b"IHDR", header), (b"IDAT", packed[:9]), (b"IDAT", packed[9:]), (b"IEND", b"")]
        for kind, body in chunks:
            file += struct.pack(">I", len(body)) + kind + body
            file += struct.pack(">I", zlib.crc32(kind + body))
        files.append(file)
    expected = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    images = decode_images(files, channels)
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, expected.reshape(-1, height, width, channels))


def test_other_image_files_agree_with_pillow():
    pixels = random_images(4, 3)
    files = []
    for image, options in zip(
        pixels, ({"format": "JPEG"}, {"format": "PNG"}, {"format": "BMP"}, {"format": "GIF"}),
        strict=True,
    ):  # fmt: skip
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, **options)
        files.append(buffer.getvalue())
    expected = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    np.testing.assert_array_equal(decode_images(files, 3), expected)
    grey = decode_images(files[1:2], 1)
    assert grey.shape == (1, 6, 5, 1)
    with pytest.raises(ValueError, match="2 channels"):
        decode_images(files, 2)


def test_prepared_mnist_equals_the_original_files(real_data):
    found = data.load("mnist", real_data / "tfds")
    original = data.load(f"idx:{real_data / 'mnist_idx'}")
    assert found.fingerprint == original.fingerprint
    assert found.name == "mnist"
    np.testing.assert_array_equal(found.test.images, original.test.images)


def test_prepared_binarized_mnist_equals_the_original_text(real_data):
    dataset = data.load("binarized_mnist", real_data / "tfds")
    sizes = {name: len(split.images) for name, split in dataset.splits.items()}
    assert sizes == {"train": 50_000, "validation": 10_000, "test": 10_000}
    images = dataset.splits["validation"].images
    assert set(np.unique(images)) == {0, 255}
    assert dataset.train.labels is None
    # The published text: the digits of an image in a row, separated by blanks.
    text = np.full((10_000, 784, 2), ord(" "), np.uint8)
    text[:, :, 0] = ord("0") + images.reshape(10_000, 784) // 255
    text[:, -1, 1] = ord("\n")
    published = "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
    assert hashlib.sha256(text.tobytes()).hexdigest() == published


def test_prepared_fashion_mnist(real_data):
    dataset = data.load("fashion_mnist", real_data / "tfds")
    assert dataset.train.labels is not None
    # The first labels of the original file, and the mean that everyone normalizes with.
    assert dataset.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert abs(dataset.train.images.mean() / 255 - 0.2860) < 5e-5


def test_a_read_only_copy_will_do(tmp_path):
    write_images(tmp_path / "some_set" / "1.0.0", {"train": 3, "test": 3})
    shutil.move(tmp_path / "some_set", tmp_path / "sets" / "some_set")
    before = sorted((tmp_path / "sets").rglob("*"))
    data.load("tfds:some_set", tmp_path / "sets")
    assert sorted((tmp_path / "sets").rglob("*")) == before


def test_ties_of_paeths_filter_go_left_up_corner():
    """PNG specification, section 9.4; few values, so that ties are common."""
    rng = np.random.default_rng(0)
    row, above = (rng.integers(0, 5, (300, 6, 1)).astype(np.uint8) for _ in range(2))
    expected = row.astype(int)
    for n in range(300):
        for x in range(6):
            left, corner = (expected[n, x - 1, 0], int(above[n, x - 1, 0])) if x else (0, 0)
            up = int(above[n, x, 0])
            estimate = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(estimate - value))  # the first
            expected[n, x, 0] = (expected[n, x, 0] + guess) % 256
    np.testing.assert_array_equal(decoding._unfilter(4, row.copy(), above), expected)
