"""XLA's options reach the programs that are called from Python, and no others."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import learners, models, systems
from jaxgen.convolutions import compiling
from jaxgen.learners import _arguments
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1)).astype(np.uint8)
KEY = jax.random.key(0)
asked = []


@pytest.fixture
def learner():
    """A learner whose options are counted, and an option that XLA has."""
    asked.clear()

    def options_of():
        asked.append(True)
        return {"xla_cpu_enable_fast_math": True}

    shape = (4, 4, 1)
    model = models.vae(MLPEncoder((5,), 2), MLPDecoder((5,), shape), bernoulli(), image_shape=shape)
    return learners.minimize(model, optax.adam(1e-3), batch_size=8, options_of=options_of)


@pytest.fixture
def seen(monkeypatch):
    """The options of each program that is made."""
    found = []
    original = jax.jit

    def jit(function, **keywords):
        found.append(keywords.get("compiler_options"))
        return original(function, **keywords)

    monkeypatch.setattr("jaxgen.learners._arguments.jax.jit", jit)
    return found


def test_they_are_asked_for_at_the_first_call(learner, seen):
    assert not asked
    state = learner.init(KEY)
    state, _ = learner.step(state, IMAGES, KEY)
    learner.step(state, IMAGES, KEY)
    assert len(asked) == 1
    assert seen == [{"xla_cpu_enable_fast_math": True}]


def test_steps_stay_parts_of_other_programs(learner, seen):
    state, expected = learner.step(learner.init(KEY), IMAGES, KEY)
    count = len(asked)
    _, metrics = jax.jit(learner.step)(learner.init(KEY), IMAGES, KEY)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    keys = jax.random.split(KEY, 2)
    _, metrics = jax.vmap(learner.step, in_axes=(0, None, 0))(
        jax.vmap(learner.init)(keys), jnp.asarray(IMAGES), keys
    )
    assert metrics["loss"].shape == (2,)

    def body(state, key):
        return learner.step(state, IMAGES, key)

    _, metrics = jax.lax.scan(body, learner.init(KEY), keys)
    assert metrics["loss"].shape == (2,)

    def loss(images):
        return learner.evaluate(state, images, KEY)["loss"]

    assert jax.grad(loss)(IMAGES / np.float32(255)).shape == IMAGES.shape
    assert len(asked) == count  # the first call from Python alone


DIVIDED = """
import jax, numpy as np, optax
jax.config.update("jax_num_cpu_devices", 2)
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from jaxgen import learners, models
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

asked, shape = [], (4, 4, 1)
model = models.vae(MLPEncoder((5,), 2), MLPDecoder((5,), shape), bernoulli(), image_shape=shape)
learner = learners.minimize(model, optax.sgd(0.1), batch_size=8, options_of=lambda: asked.append(1))
mesh = Mesh(np.array(jax.devices()), ("batch",), axis_types=(AxisType.Auto,))
state = jax.device_put(learner.init(jax.random.key(0)), NamedSharding(mesh, P()))
images = np.zeros((8, 4, 4, 1), np.uint8)
with jax.set_mesh(mesh):
    state, _ = learner.epoch(state, images, jax.random.key(0))
state, _ = learner.step(state, images, jax.random.key(0))
assert not asked
learner.step(learner.init(jax.random.key(0)), images, jax.random.key(0))
assert asked
"""


@pytest.mark.slow
def test_programs_for_several_devices_have_none():
    """XLA's partitioner cannot divide the calls of a library."""
    done = subprocess.run(
        [sys.executable, "-c", DIVIDED], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_where_traces_are_not_known_there_are_none(learner, monkeypatch):
    """A program with options would fail inside another one."""
    monkeypatch.setattr(_arguments, "_knows_traces", False)
    monkeypatch.setattr(_arguments, "_is_outermost", lambda: True)
    state, _ = jax.jit(learner.step)(learner.init(KEY), IMAGES, KEY)
    learner.step(state, IMAGES, KEY)
    assert not asked


def test_skipping_steps_have_them_too(learner):
    skipping = learner.require("skipping_nonfinite")()
    skipping.step(skipping.init(KEY), IMAGES, KEY)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("version", "platform", "machine", "backend", "found"),
    [
        ("0.12.0.1", "linux", "x86_64", "cpu", True),
        ("0.13", "linux", "x86_64", "cpu", True),
        ("0.10.2", "linux", "x86_64", "cpu", False),
        ("0.12.0", "darwin", "arm64", "cpu", False),
        ("0.12.0", "linux", "aarch64", "cpu", False),
        ("0.12.0", "linux", "x86_64", "gpu", False),
    ],
)
def test_where_there_is_something_to_gain(version, platform, machine, backend, found, monkeypatch):
    monkeypatch.setattr("jaxlib.version.__version__", version)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.delenv("JAXGEN_ONEDNN", raising=False)
    assert (compiling.for_small_images() is not None) is found
    assert (compiling.for_wide_layers() is not None) is found
    monkeypatch.setenv("JAXGEN_ONEDNN", "0")
    assert compiling.for_small_images() is None


@pytest.mark.slow
@pytest.mark.skipif(compiling.for_wide_layers() is None, reason="needs jaxlib 0.12 on x86-64")
@pytest.mark.parametrize("name", ["vae_flowers", "dcgan_mnist"])
def test_results_are_those_without(name, monkeypatch):
    small = {
        "vae_flowers": {"resolution": 8, "channels": (4, 4), "latent_size": 3},
        "dcgan_mnist": {"generator_features": (8, 6, 4, 4), "critic_features": (4, 6)},
    }
    losses = []
    for options in (True, False):
        if not options:
            monkeypatch.setattr(compiling, "_available", lambda: False)
        learner = getattr(systems, name)(**small[name], batch_size=8)
        images = np.random.default_rng(0).random((24, *learner.image_shape)).astype(np.float32)
        _, metrics = learner.epoch(learner.init(KEY), images, KEY)
        losses.append(metrics["loss" if "loss" in metrics else "critic_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
