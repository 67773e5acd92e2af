"""Numbers of other types, and JAX's own modes: each works, or is refused in one line."""

from typing import Any

import jax
import numpy as np
import pytest
from marks import slow_but
from test_optimizers import BUILDS, FLOWERS, VAE, pixels, trained

from jaxgen import systems
from jaxgen.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")


def flowers(resolution: Any):
    options: dict[str, Any] = FLOWERS | {"resolution": resolution}
    return systems.vae_flowers(**options)


@pytest.mark.parametrize("resolution", [4.0, (4, 4), [4, 4], np.int64(4), np.array([4, 4])])
def test_resolutions(resolution):
    assert flowers(resolution).image_shape == (4, 4, 3)


@pytest.mark.parametrize("resolution", [(4, 8), 4.5, (4, 4, 3), "4", None])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(UserError, match="expected resolution") as error:
        flowers(resolution)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [np.int64, np.int32, float, np.float32])
@pytest.mark.parametrize("name", ["latent_size", "batch_size", "num_samples"])
def test_whole_numbers(kind, name):
    options: dict[str, Any] = VAE | {name: kind(3)}
    learner = systems.vae_mnist(**options)
    state, metrics = trained(learner, 1)
    assert np.isfinite(metrics["loss"])
    assert learner.sample is not None
    assert learner.sample(state, kind(2), jax.random.key(0)).shape == (2, 4, 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae_mnist", "wgan_mnist"])
def test_numpy_arrays_without_jit(name):
    learner = BUILDS[name]()
    with jax.disable_jit():
        state = learner.init(jax.random.key(0))
        state, metrics = learner.step(state, pixels(count=4), jax.random.key(1))
        metrics |= learner.evaluate(state, pixels(count=4), jax.random.key(2))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "wgan_mnist"}, BUILDS))
def test_strict_dtype_promotion(name):
    with jax.numpy_dtype_promotion("strict"):
        learner = BUILDS[name](**({"ema_decay": 0.9} if "gan" in name else {}))
        state, metrics = trained(learner, 1)
        labels = {"labels": np.arange(4, dtype=np.int32)} if learner.num_classes else {}
        images = pixels(learner.image_shape, 4)
        held_out = learner.evaluate(state, images, jax.random.key(2), **labels)
        learner.require("sample")(state, 2, jax.random.key(3))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, held_out)))


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "wgan_mnist"}, BUILDS))
def test_double_precision_mode(name):
    # Warnings are errors here: one of JAX says that a cast will become an error.
    with jax.enable_x64(True):
        learner = BUILDS[name](**({"ema_decay": 0.9} if "gan" in name else {}))
        state = learner.init(jax.random.key(0))
        dtypes = jax.tree.map(lambda x: x.dtype, state)
        images = pixels(learner.image_shape, 8)
        labels = {"labels": np.arange(8)} if learner.num_classes else {}
        state, metrics = learner.epoch(state, images, jax.random.key(1), **labels)
        assert dtypes == jax.tree.map(lambda x: x.dtype, state)
        held_out = learner.evaluate(state, images, jax.random.key(2), **labels)
        if learner.log_weights is not None:
            learner.log_weights(state, images, jax.random.key(3), 2, **labels)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, held_out)))
