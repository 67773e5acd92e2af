"""Runs of modules of the user's own: dropout, spectral norm and BatchNorm survive a checkpoint."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from jaxgen import data, learners, models, runs
from jaxgen.models import likelihoods

SHAPE = (6, 6, 1)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Dense(8)(images.reshape(len(images), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(2)(x), nn.Dense(2)(x)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, latents, *, train):
        x = nn.relu(nn.SpectralNorm(nn.Dense(8))(latents, update_stats=train))
        x = nn.Dropout(0.3, deterministic=not train)(x)
        return nn.Dense(36)(x).reshape(-1, *SHAPE)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, latents, *, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(latents)))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.sigmoid(nn.Dense(36)(x)).reshape(-1, *SHAPE)


class Critic(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        x = nn.SpectralNorm(nn.Dense(8))(images.reshape(len(images), -1), update_stats=train)
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
        return nn.Dense(1)(x)[:, 0]


def own_vae():
    model = models.vae(Encoder(), Decoder(), likelihoods.bernoulli(), image_shape=SHAPE)
    return learners.minimize(model, optax.adamw(1e-2), batch_size=8)


def own_gan():
    model = models.gan(Generator(), Critic(), latent_size=2)
    optimizer = optax.adam(1e-3, b1=0.5)
    return learners.adversarial(model, optimizer, optimizer, 2, batch_size=8, ema_decay=0.9)


@pytest.mark.parametrize("make", [own_vae, own_gan])
def test_a_run_of_own_modules_resumes_bit_for_bit(make, tmp_path):
    learner = make()
    pixels = np.random.default_rng(0).integers(0, 256, (50, *SHAPE)).astype(np.uint8)
    dataset = data.from_arrays(pixels)

    def fit(workdir, num_epochs):
        return runs.fit(learner, dataset, num_epochs=num_epochs, workdir=workdir, pictures=False)

    straight = fit(tmp_path / "straight", 3)
    fit(tmp_path / "resumed", 1)
    resumed = fit(tmp_path / "resumed", 3)
    assert jax.tree.structure(resumed.state) == jax.tree.structure(straight.state)
    for a, b in zip(*(jax.tree.leaves(run.state) for run in (resumed, straight)), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(resumed.history, straight.history, strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}

    # What is not a parameter has changed, was saved, and leaves evaluation deterministic.
    initial = jax.tree.leaves(learner.init(jax.random.key(0)).collections)
    trained = jax.tree.leaves(straight.state.collections)
    assert len(initial) > 0
    assert all((np.asarray(a) != b).any() for a, b in zip(initial, trained, strict=True))
    loaded = runs.load(tmp_path / "straight", learner=learner)
    latents = np.zeros((2, 2), np.float32)
    decode = learner.require("decode")
    np.testing.assert_array_equal(decode(loaded.state, latents), decode(straight.state, latents))
    np.testing.assert_array_equal(*decode(loaded.state, latents))
