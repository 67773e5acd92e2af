"""Pictures of mixed sizes reach every system, once they have a resolution."""

import inspect
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from test_data_prepared import LABEL, example, image_feature, png, write_prepared

from jaxgen import data, runs, systems
from jaxgen.errors import UserError
from jaxgen.types import Dataset

SIZES = ((40, 33), (32, 64), (50, 50), (35, 41), (33, 32), (64, 48))
RESOLUTION = 32  # every system has networks for it


def photographs(number: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(*SIZES[i % len(SIZES)], 3) for i in range(number)]
    return [rng.integers(0, 90, shape, dtype=np.uint8) for shape in shapes]


def make_folder(place: Path) -> tuple[str, Path]:
    for number, pixels in enumerate(photographs(80)):
        folder = place / "pictures" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return f"folder:{place / 'pictures'}", place


def make_prepared(place: Path) -> tuple[str, Path]:
    """A set in array_record form, as tensorflow-datasets prepares one."""
    records = [example(image=png(x), label=i % 2) for i, x in enumerate(photographs(80))]
    write_prepared(
        place / "some_set" / "1.0.0",
        {"train": [records[:70]], "test": [records[70:]]},
        {"image": image_feature(3), "label": LABEL},
    )
    return "tfds:some_set", place


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> list[Dataset]:
    """The same photographs as `folder:` and as `tfds:`, in other splits."""
    loaded = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        for make in (make_folder, make_prepared):
            name, data_dir = make(tmp_path_factory.mktemp("mixed"))
            with pytest.raises(UserError, match=r"differ in size .*pass --resolution \d"):
                data.load(name, data_dir)
            loaded.append(data.load(name, data_dir, resolution=RESOLUTION))
    return loaded


def test_both_forms_give_the_same_images(datasets):
    both = [np.concatenate([d.train.images, d.test.images]) for d in datasets]
    assert both[0].shape == (80, RESOLUTION, RESOLUTION, 3)
    first, second = (np.sort(images.sum((1, 2, 3), dtype=np.int64)) for images in both)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", systems.__all__)
def test_every_system_takes_them(datasets, name):
    system = getattr(systems, name)
    images, labels = datasets[0].train
    given = {
        "image_shape": images.shape[1:],
        "resolution": RESOLUTION,
        "image_channels": 3,
        "num_classes": 2,
        "batch_size": 16,
        "num_steps": 100,
        "hidden_sizes": (8,),
    }
    parameters = inspect.signature(system).parameters
    learner = system(**{key: value for key, value in given.items() if key in parameters})
    keywords = {"labels": labels} if "num_classes" in parameters else {}

    def train(key):
        return learner.epoch(learner.init(key), images, key, **keywords)

    # Tracing checks every shape, without the time to compile.
    _, metrics = jax.eval_shape(train, jax.random.key(0))
    assert metrics
    for values in metrics.values():
        assert values.ndim == 1


def test_one_of_them_trains(datasets, quick_compilation):
    images = datasets[1].train.images
    learner = systems.vae_mnist(
        image_shape=images.shape[1:], hidden_sizes=(8,), batch_size=14, learning_rate=1e-2
    )
    state, losses = learner.init(jax.random.key(0)), []
    for i in range(1, 5):
        state, metrics = learner.epoch(state, images, jax.random.key(i))
        losses.append(np.mean(metrics["loss"]))
    assert losses[-1] < losses[0] - 100


def read_config(workdir: Path) -> dict:
    return json.loads((workdir / "config.json").read_text())


def test_a_script_resizes_them_to_the_size_it_was_published_at(
    tmp_path, monkeypatch, quick_compilation
):
    name, data_dir = make_prepared(tmp_path)
    words = f"--dataset {name} --data-dir {data_dir} --workdir {tmp_path / 'run'} --num-epochs 1"
    small = "--hidden-sizes 4 --latent-size 2 --batch-size 35 --no-pictures"
    monkeypatch.setattr(sys, "argv", ["vae_mnist.py", *words.split(), *small.split()])
    script = Path(__file__).parents[1] / "experiments" / "vae_mnist.py"
    runpy.run_path(str(script), run_name="__main__")
    config = read_config(tmp_path / "run")
    assert config["image_shape"] == [28, 28, 3]
    assert (config["resolution"], config["fit"]) == (28, "crop")
    (record,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(record)["step"] == 2


@pytest.mark.parametrize(
    ("words", "size"),
    [("", 64), ("--image-shape 16 16 3", 16), ("--resolution 32 --fit squash", 32)],
)
def test_dcgan_flowers_takes_them_at_the_size_it_is_asked_for(words, size, tmp_path, monkeypatch):
    name, data_dir = make_prepared(tmp_path)
    args = f"--dataset {name} --data-dir {data_dir} --workdir {tmp_path / 'run'} {words}"
    monkeypatch.setattr("jaxgen.runs.starting.open_run", lambda learner, dataset, **_: dataset)
    dataset: Any = runs.start(systems.dcgan_flowers, num_epochs=1, args=args.split())
    assert dataset.train.images.shape == (70, size, size, 3)
    options = {"resolution": size, "fit": "squash" if "squash" in words else "crop"}
    assert dataset.fingerprint == data.load(name, data_dir, **options).fingerprint
