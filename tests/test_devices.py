"""Data parallelism: the same run on one device and on several, in processes with 8 CPU devices."""

import json
import os
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from marks import slow_but

from jaxgen import runs, systems
from jaxgen.errors import UserError
from jaxgen.learners.data_parallelism import check_divides
from jaxgen.runs.devices import provide

# Systems with small networks; 20 steps and, for VAEs, a last batch of 5 images. Behind BatchNorm
# some gradients are 0 but for rounding. Adam divides them by their own size: one unit in the last
# place of the initial weights then moves the VAE's loss of step 20 by 1e-3, on one device too.
# It has SGD here.
SYSTEMS: dict[str, dict[str, Any]] = {
    "vae_mnist": {"hidden_sizes": (6,), "latent_size": 2, "batch_size": 16},
    "vae_batchnorm_mnist": {"hidden_sizes": (6, 5), "latent_size": 2, "batch_size": 16},
    "cvae_mnist": {"hidden_sizes": (6,), "latent_size": 2, "batch_size": 16},
    "dcgan_mnist": {
        "image_shape": (28, 28, 1),
        "generator_features": (16, 8, 8, 8),
        "critic_features": (8, 16),
        "batch_size": 64,
    },
    "wgan_mnist": {
        "generator_sizes": (6,),
        "critic_sizes": (5,),
        "latent_size": 2,
        "batch_size": 16,
        "num_critic_steps": 2,
    },
}

# Trains 20 steps and evaluates, for each number of devices; prints losses as JSON.
EQUAL = """
import json, sys
import jax, numpy as np, optax
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from jaxgen import learners, systems
name, settings = sys.argv[1], {"image_shape": (8, 8, 1), **json.loads(sys.argv[2])}
settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
if name == "vae_batchnorm_mnist":
    settings["optimizer"] = optax.sgd(0.01)
learner = getattr(systems, name)(**settings)
rest = 0 if "critic" in str(settings) else 5
count = 20 * learner.images_per_step - (learner.batch_size - rest if rest else 0)
rng = np.random.default_rng(0)
images = np.zeros((count, *learner.image_shape), np.uint8)
for image, corner in zip(images, rng.integers(0, 5, (count, 2))):  # squares, as dark as digits
    image[corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] = rng.integers(100, 256)
labels = {"labels": rng.integers(0, 10, count).astype(np.int32)} if learner.num_classes else {}
found = {}
for n in (1, 2, 8):
    mesh = Mesh(np.array(jax.devices()[:n]), (learners.BATCH_AXIS,), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, P())
    state = jax.device_put(learner.init(jax.random.key(0)), everywhere)
    data = jax.device_put(images, everywhere)
    with jax.set_mesh(mesh):
        program = learner.epoch.lower(state, data, jax.random.key(1), **labels).compile().as_text()
        state, metrics = learner.epoch(state, data, jax.random.key(1), **labels)
        held_out = learner.evaluate(state, data, jax.random.key(2), **labels)
    found[n] = {
        "epoch": {k: np.asarray(v, float).tolist() for k, v in metrics.items()},
        "evaluate": {k: float(v) for k, v in held_out.items()},
        "sums": "all-reduce" in program,
    }
print(json.dumps(found))
"""


def in_process(code, *words, timeout=300):
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", slow_but({"vae_mnist"}, SYSTEMS))
def test_losses_are_those_of_one_device(name):
    found = json.loads(in_process(EQUAL, name, json.dumps(SYSTEMS[name])))
    one = found.pop("1")
    assert not one["sums"]
    assert len(one["epoch"]["num_images"]) == 20
    # A critic's losses are differences of means that nearly cancel.
    atol = 1e-6 if "critic" in str(SYSTEMS[name]) else 0.0
    for several in found.values():
        assert several["sums"]  # the batch is really divided
        for metric, values in one["epoch"].items():
            steps = 20 if metric.endswith("loss") else 3
            own = several["epoch"][metric][:steps]
            np.testing.assert_allclose(own, values[:steps], rtol=1e-5, atol=atol, err_msg=metric)
        for metric, value in one["evaluate"].items():
            if metric.endswith("loss"):
                np.testing.assert_allclose(several["evaluate"][metric], value, rtol=1e-5, atol=atol)


STEP = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from jaxgen import systems
learner = systems.vae_mnist(image_shape=(4, 4, 1), hidden_sizes=(8,), latent_size=2, batch_size=8)
images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
shape = [[0, 1], [2, 3]]
mesh = Mesh(np.array(jax.devices())[np.array(shape)], ("rows", "columns"),
            axis_types=(AxisType.Auto,) * 2)

def place(leaf):  # the hidden units are divided along one axis
    name = [None] * leaf.ndim
    if leaf.ndim and leaf.shape[-1] == 8:
        name[-1] = "columns"
    return jax.device_put(leaf, NamedSharding(mesh, P(*name)))

alone, own = learner.init(jax.random.key(0)), learner.init(jax.random.key(0))
own = jax.tree.map(place, own)
spread = jax.device_put(images, NamedSharding(mesh, P("rows")))
for step in range(3):
    alone, expected = learner.step(alone, images, jax.random.key(step))
    own, metrics = learner.step(own, spread, jax.random.key(step))
np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
kernel = own.params["encoder"]["hidden"]["dense_0"]["kernel"]
print(len(kernel.devices()), kernel.sharding.shard_shape(kernel.shape))
"""


def test_a_mesh_and_a_sharded_state_of_your_own_go_through_step():
    assert in_process(STEP).split(maxsplit=1) == ["4", "(16, 4)\n"]


@pytest.mark.parametrize(
    ("size", "devices", "nearest"),
    [(128, 3, 129), (100, 8, 96), (3, 8, 8), (9, 8, 8), (20, 8, 16)],
)
def test_the_nearest_batch_size_is_named(size, devices, nearest):
    with pytest.raises(UserError, match=f"the nearest is {nearest} "):
        check_divides(size, devices)
    check_divides(nearest, devices)


RUN = """
import sys
from typing import Any
from jaxgen import _commands
sys.exit(_commands.run(sys.argv[1:]))
"""
WORDS = "--hidden-sizes 6 --latent-size 2 --batch-size 8 --no-compilation-cache"


def train(folder, idx_folder, *words):
    words = ("train", "vae_mnist", *WORDS.split(), "--workdir", str(folder), *words)
    return in_process(RUN, *words, "--dataset", f"idx:{idx_folder}")


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_devices(idx_folder, tmp_path):
    train(tmp_path / "one", idx_folder, "--num-epochs", "3")
    said = train(tmp_path / "run", idx_folder, "--num-epochs", "2", "--devices", "8")
    assert "8 devices of kind cpu" in said
    assert "8 CPU devices share" in said or (os.cpu_count() or 8) >= 8
    assert json.loads((tmp_path / "run" / "config.json").read_text())["device"]["count"] == 8
    assert "resuming after epoch 2" in train(
        tmp_path / "run", idx_folder, "--num-epochs", "3", "--devices", "2"
    )
    run, one = runs.load(tmp_path / "run"), runs.load(tmp_path / "one")
    for record, expected in zip(run.history, one.history, strict=True):
        for name in expected.keys() - {"seconds"}:
            np.testing.assert_allclose(record[name], expected[name], rtol=1e-5, err_msg=name)
    assert (tmp_path / "run" / "images" / "samples-003.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_a_thousand_steps_end(idx_folder, tmp_path, devices):
    """Programs on several CPU devices that wait for each other can exhaust a pool of threads."""
    words = ("--num-epochs", "200", "--no-pictures", "--devices", str(devices))
    train(tmp_path / "run", idx_folder, *words)
    assert runs.load(tmp_path / "run").history[-1]["step"] == 1000


PARTS = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from jaxgen.runs.devices import Devices
devices, images = Devices(4), np.arange(24).reshape(12, 2)
print([part.data.shape for part in devices.divided(images).addressable_shards])
print([part.data.shape for part in devices.divided(images[:11]).addressable_shards])
print([part.data.shape for part in devices.everywhere({"a": images})["a"].addressable_shards])
print(devices.part(12), devices.part(11))
batch, ragged = devices.put(images, 12), devices.put(images[:11], 11)
assert [part.data.shape for part in batch.addressable_shards] == [(3, 2)] * 4
np.testing.assert_array_equal(batch, images)
np.testing.assert_array_equal(ragged, images[:11])
np.testing.assert_array_equal(devices.divided(images), images)
from jaxgen import systems
from jaxgen.runs.feeding import feeding
from jaxgen.types import Split
pictures = np.zeros((16, 4, 4, 1), np.uint8)
learner = systems.vae_mnist(image_shape=(4, 4, 1), hidden_sizes=(5,), batch_size=8)
fed = feeding(learner, Split(pictures, None), 12, devices)
assert [part.data.shape for part in fed._images.addressable_shards] == [(3, 4, 4, 1)] * 4
np.testing.assert_array_equal(devices.one_copy(devices.everywhere(images)), images)
"""


def test_each_device_has_its_part_of_the_training_images():
    parts, uneven, whole, rows = in_process(PARTS).splitlines()
    assert rows == "slice(0, 12, None) slice(0, 11, None)"
    assert parts == str([(3, 2)] * 4)
    assert uneven == str([(11, 2)] * 4)
    assert whole == str([(12, 2)] * 4)


def test_more_accelerators_than_there_are_are_refused(monkeypatch):
    class Device:
        platform = "gpu"

    monkeypatch.setattr("jaxgen.runs.devices.first_device", Device)
    with pytest.raises(UserError, match=r"at most \d+ devices.*pass --devices \d+, or all"):
        provide(64)


def test_more_devices_than_a_process_has_are_refused(idx_folder, tmp_path):
    words = [*WORDS.split(), "--dataset", f"idx:{idx_folder}", "--workdir", str(tmp_path / "run")]
    jax.devices()
    with pytest.raises(UserError, match="JAX has started already"):
        runs.start(systems.vae_mnist, num_epochs=1, args=[*words, "--devices", "64"])
    with pytest.raises(UserError, match="--devices"):
        runs.start(systems.vae_mnist, num_epochs=1, args=[*words, "--devices", "0"])
    assert not (tmp_path / "run").exists()
