"""Damaged and random files of every kind that is read: a UserError in one line, or a result.

None takes more than 5 seconds or a gigabyte. Safetensors, state dicts and checkpoints are in
test_interop_fuzzing.py.
"""

import gzip
import io
import json
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_idx_folder
from marks import slow_and_nightly
from PIL import Image
from test_data_prepared import LABEL, example, image_feature, png, write_prepared

from jaxgen import data, runs, systems
from jaxgen.errors import UserError
from jaxgen.runs.reports import write_report

SECONDS = 5.0
BYTES = 2**30
ODD = [b"", b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"{", b"NaN", b"1e999", b"[[[[", b"\n"]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with a few bytes changed, cut off, inserted or repeated."""
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        # Half of the damage is done to the first bytes, where most formats have their header.
        place = draw.randrange(min(len(content), draw.choice([64, len(content)])) + 1)
        some = draw.choice([draw.randbytes(draw.randint(1, 9)), draw.choice(ODD)])
        content = draw.choice(
            [
                content[:place] + some + content[place + len(some) :],
                content[:place] + some + content[place:],
                content[:place] + content[place + draw.randint(1, 20) :],
                content[:place],
                content[:place] + content[place // 2 :],
                content[:place]
                + bytes(b ^ 1 << draw.randrange(8) for b in content[place:][:1])
                + content[place + 1 :],
            ]
        )
    return content


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attempt(function: Callable[[], Any]) -> bool:
    """Whether a call gives a result; else it has to be a UserError of one line."""
    start, before = time.monotonic(), peak_bytes()
    refusal = None
    try:
        function()
    except UserError as error:
        refusal = str(error)
    assert refusal is None or (refusal and "\n" not in refusal)
    assert time.monotonic() - start < SECONDS
    assert peak_bytes() - before < BYTES
    return refusal is None


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def folder_of_pictures(kind: str) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def prepare(folder: Path) -> tuple[Path, Callable[[], Any]]:
        for i in range(3):
            (folder / f"{i}.{kind.lower()}").write_bytes(picture(kind))

        def load() -> None:
            loaded = data.load(f"folder:{folder}", resolution=8)
            assert loaded.train.images.shape[1:] == (8, 8, 3)

        return folder / f"1.{kind.lower()}", load

    return prepare


def idx_set(name: str) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def prepare(folder: Path) -> tuple[Path, Callable[[], Any]]:
        make_idx_folder(folder, size=4)
        compressed = folder / f"{name}.gz"
        (folder / name).write_bytes(gzip.decompress(compressed.read_bytes()))
        compressed.unlink()

        def load() -> None:
            loaded = data.load(f"idx:{folder}")
            assert loaded.train.images.dtype == np.uint8
            assert loaded.train.labels is not None
            assert len(loaded.train.images) == len(loaded.train.labels)

        return folder / name, load

    return prepare


def idx_archive(folder: Path) -> tuple[Path, Callable[[], Any]]:
    make_idx_folder(folder, size=4)
    return folder / "train-images-idx3-ubyte.gz", lambda: data.load(f"idx:{folder}")


def npz(compress: bool) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def prepare(folder: Path) -> tuple[Path, Callable[[], Any]]:
        save = np.savez_compressed if compress else np.savez
        images = np.random.default_rng(0).integers(0, 256, (12, 5, 5)).astype(np.uint8)
        save(folder / "set.npz", train_images=images, train_labels=np.arange(12) % 3)
        return folder / "set.npz", lambda: data.load(f"npz:{folder / 'set.npz'}")

    return prepare


def prepared_set(pattern: str) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def prepare(folder: Path) -> tuple[Path, Callable[[], Any]]:
        pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)).astype(np.uint8)
        records = [example(image=png(image), label=i) for i, image in enumerate(pixels)]
        place = folder / "some_set" / "1.0.0"
        features = {"image": image_feature(), "label": LABEL}
        write_prepared(place, {"train": [records], "test": [records[:2]]}, features)
        (file,) = place.glob(pattern)
        return file, lambda: data.load("tfds:some_set", folder)

    return prepare


@pytest.fixture(scope="module")
def run_folder(idx_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    words = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir), "--no-pictures"]
    words += "--hidden-sizes 6 --latent-size 2 --batch-size 16".split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with runs.start(systems.vae_mnist, num_epochs=2, args=words) as run:
            for _ in run.epochs():
                pass
    return workdir


KINDS: dict[str, Callable[[Path], tuple[Path, Callable[[], Any]]]] = {
    "png": folder_of_pictures("PNG"),
    "jpeg": folder_of_pictures("JPEG"),
    "webp": folder_of_pictures("WEBP"),
    "idx images": idx_set("train-images-idx3-ubyte"),
    "idx labels": idx_set("train-labels-idx1-ubyte"),
    "idx archive": idx_archive,
    "npz": npz(compress=False),
    "compressed npz": npz(compress=True),
    "array record": prepared_set("*train*"),
    "dataset_info.json": prepared_set("dataset_info.json"),
    "features.json": prepared_set("features.json"),
}


@pytest.mark.parametrize("count", slow_and_nightly(12, 60))
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_data(kind, count, tmp_path, monkeypatch, capfd):
    file, load = KINDS[kind](tmp_path)
    load()
    content = file.read_bytes()
    draw = random.Random(f"{kind} {count}")
    results = []
    for n in range(count):
        monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / ".cache" / str(n)))
        file.write_bytes(damaged(content, draw))
        results.append(attempt(load))
        shutil.rmtree(tmp_path / ".cache", ignore_errors=True)
    assert False in results
    assert "Traceback" not in capfd.readouterr().err


JSON = [None, True, -1, 0, 2**63, 1e300, "", "x" * 9, [], [1, "a"], {}, {"a": []}]


def odd_json(value: Any, draw: random.Random) -> Any:
    """An object of JSON with one value replaced, dropped, or of another type."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        changed = dict(value)
        name = draw.choice(sorted(changed))
        if draw.random() < 0.2:
            del changed[name]
        else:
            changed[name] = odd_json(changed[name], draw)
        return changed
    return draw.choice(JSON)


@pytest.mark.parametrize("count", slow_and_nightly(20, 100))
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_damaged_records_of_a_run(name, count, run_folder, idx_folder, tmp_path, capfd):
    draw = random.Random(f"{name} {count}")
    content = (run_folder / name).read_bytes()
    results = []
    for _ in range(count):
        workdir = tmp_path / "run"
        shutil.copytree(run_folder, workdir)
        if draw.random() < 0.5:
            changed = damaged(content, draw)
        else:
            lines = [json.dumps(odd_json(json.loads(line), draw)) for line in lines_of(content)]
            changed = ("\n".join(lines) + "\n").encode()
        (workdir / name).write_bytes(changed)
        results.append(attempt(lambda workdir=workdir: runs.load(workdir)))
        attempt(lambda workdir=workdir: write_report(workdir))
        words = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir), "--no-pictures"]
        words += "--hidden-sizes 6 --latent-size 2 --batch-size 16".split()
        attempt(lambda words=words: start_and_leave(words))
        shutil.rmtree(workdir)
    assert False in results
    assert "Traceback" not in capfd.readouterr().err


def lines_of(content: bytes) -> list[bytes]:
    """The whole of config.json, or the lines of metrics.jsonl."""
    return [content] if content.startswith(b"{\n") else content.splitlines()


def start_and_leave(words: list[str]) -> None:
    with runs.start(systems.vae_mnist, num_epochs=2, args=words) as run:
        for _ in run.epochs():
            pass
