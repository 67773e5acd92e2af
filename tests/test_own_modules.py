"""Models of plain user modules: dropout, spectral normalization, BatchNorm, wrong shapes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import learners, models, systems
from jaxgen.errors import UserError
from jaxgen.models import monte_carlo
from jaxgen.models.likelihoods import Likelihood, bernoulli
from jaxgen.types import Learner

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (4, 4, 1)
BATCH, COUNT = 4, 10


def pixels(count=COUNT, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


class Encoder(nn.Module):
    latent_size: int = 3

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        self.sow("intermediates", "features", x)
        return nn.Dense(self.latent_size)(x), nn.Dense(self.latent_size)(x)


class Noise(nn.Module):
    """Adds noise of a stream of its own in training."""

    @nn.compact
    def __call__(self, x, train):
        return x + jax.random.normal(self.make_rng("noise"), x.shape) if train else x


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z, train):
        x = nn.SpectralNorm(nn.Dense(8))(z, update_stats=train)
        x = Noise()(nn.relu(x), train=train)
        return nn.Dense(16)(x).reshape(-1, *SHAPE)


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(z)))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.tanh(nn.Dense(16)(x)).reshape(-1, *SHAPE)


class Critic(nn.Module):
    norm: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1)
        x = nn.SpectralNorm(nn.Dense(8))(x, update_stats=train)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.3, deterministic=not train)(nn.leaky_relu(x))
        return nn.Dense(1)(x)[:, 0]


def vae() -> Learner:
    model = models.vae(Encoder(), Decoder(), bernoulli(), image_shape=SHAPE)
    assert model.latent_size == 3
    return learners.minimize(model, optax.adamw(1e-2), batch_size=BATCH)


def gan() -> Learner:
    model = models.gan(Generator(), Critic(norm=True), latent_size=3, pixel_range=(-1.0, 1.0))
    assert model.image_shape == SHAPE
    return learners.adversarial(model, optax.sgd(0.05), optax.sgd(0.05), batch_size=BATCH)


def wgan_gp() -> Learner:
    model = models.wgan(Generator(), Critic(), latent_size=3, penalty_weight=10.0)
    return learners.adversarial(model, optax.sgd(0.05), optax.sgd(0.05), 2, batch_size=BATCH)


LEARNERS = {"vae": vae, "gan": gan, "wgan_gp": wgan_gp}


@pytest.fixture(scope="module", params=LEARNERS.values(), ids=list(LEARNERS))
def learner(request):
    with jax.debug_key_reuse(True):
        yield request.param()


def leaves(tree):
    named = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in named}


@pytest.mark.slow
def test_training_changes_every_collection(learner):
    state = learner.init(jax.random.key(0))
    before = leaves(state.collections)
    assert any("mean" in name for name in before)  # of BatchNorm
    assert any("sigma" in name for name in before)  # of SpectralNorm
    assert not any("intermediates" in name for name in before)
    losses = []
    for i in range(3):
        state, metrics = learner.epoch(state, pixels(), jax.random.key(i))
        losses.append(metrics)
    after = leaves(state.collections)
    assert before.keys() == after.keys()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == before.keys()
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(losses))


def test_evaluation_is_deterministic_and_changes_nothing(learner):
    state, _ = learner.epoch(learner.init(jax.random.key(0)), pixels(), jax.random.key(1))
    before = jax.tree.map(np.array, state)
    metrics = [learner.evaluate(state, pixels(), jax.random.key(2)) for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *metrics)
    latents = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    decoded = learner.decode(state, latents)
    np.testing.assert_array_equal(decoded, learner.decode(state, latents))
    # Neither dropout nor the other images of the batch change an image.
    alone = [learner.decode(state, latents[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(decoded, np.stack(alone), rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, before, state)


def test_the_key_drives_dropout(learner):
    outcomes = []
    for seed in (1, 1, 2):
        state, metrics = learner.step(
            learner.init(jax.random.key(0)), pixels(BATCH), jax.random.key(seed)
        )
        outcomes.append(leaves((state, metrics)))
    for name, value in outcomes[0].items():
        np.testing.assert_array_equal(value, outcomes[1][name], err_msg=name)
    assert any(not np.array_equal(v, outcomes[2][name]) for name, v in outcomes[0].items())


@pytest.mark.slow
def test_a_population_of_them_is_vmapped(learner):
    def fit(key):
        init_key, epoch_key = jax.random.split(key)
        return learner.epoch(learner.init(init_key), pixels(), epoch_key)

    keys = jax.random.split(jax.random.key(4), 2)
    population = leaves(jax.vmap(fit)(keys))
    singles = [leaves(fit(key)) for key in jax.random.split(jax.random.key(4), 2)]
    for name, value in population.items():
        expected = np.stack([single[name] for single in singles])
        # Batched products round otherwise, which Adam may make a part of a step.
        np.testing.assert_allclose(value, expected, rtol=2e-3, atol=2e-3, err_msg=name)


def test_dropout_masks_differ_between_samples_and_networks():
    class Mask(nn.Module):
        """Latents that are ones where dropout keeps them."""

        @nn.compact
        def __call__(self, x, train):
            ones = jnp.ones((len(x), 64))
            kept = nn.Dropout(0.5, deterministic=not train)(ones)
            return (kept, jnp.full_like(kept, -100.0))

    class Product(nn.Module):
        @nn.compact
        def __call__(self, z, train):
            return nn.Dropout(0.5, deterministic=not train)(jnp.ones_like(z)) * z

    reveal = Likelihood(lambda output, images: jnp.sum(output > 0.5, axis=1) * 1.0, lambda x: x)
    model = models.vae(
        Mask(),
        Product(),
        reveal,
        image_shape=(1, 1, 1),
        latent_size=64,
        objective=models.Objective(num_samples=50),
    )
    loss = model.loss({"params": {}}, jnp.zeros((40, 1, 1, 1)), jax.random.key(0), 0)[1][0]
    # A pixel is kept by both masks in a quarter of the cases; equal masks would keep half.
    kept = -float(loss["reconstruction"]) / 64
    assert abs(kept - 0.25) < 0.02


class Labelled(nn.Module):
    """Gives each latent its label, or each image a point."""

    encodes: bool = False

    @nn.compact
    def __call__(self, x, train, labels):
        assert labels.shape == (len(x),)
        return (x.reshape(-1, 1), x.reshape(-1, 1)) if self.encodes else labels[:, None] * 1.0


@pytest.mark.parametrize("at_once", [monte_carlo.BYTES_AT_ONCE, 0], ids=["one batch", "groups"])
def test_every_sample_has_the_label_of_its_image(at_once, monkeypatch):
    monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", at_once)
    wrong = Likelihood(
        lambda output, images: -1.0 * (output[:, 0] != images.reshape(-1)), lambda output: output
    )
    model = models.vae(
        Labelled(encodes=True),
        Labelled(),
        wrong,
        image_shape=(1, 1, 1),
        latent_size=1,
        num_classes=5,
        objective=models.Objective(num_samples=3),
    )
    labels = np.array([4, 0, 3, 1], np.int32)
    images = labels.reshape(-1, 1, 1, 1).astype(np.float32)
    variables = {"params": {}}
    keys = jax.random.split(jax.random.key(0), 3)
    metrics = model.evaluate(variables, jnp.asarray(images), keys[0], 0, labels=labels)
    np.testing.assert_array_equal(metrics["reconstruction"], 0)
    loss = model.loss(variables, jnp.asarray(images), keys[1], 0, labels=labels)[1][0]
    assert loss["reconstruction"] == 0
    other = model.evaluate(variables, jnp.asarray(images), keys[2], 0, labels=labels[::-1])
    np.testing.assert_array_equal(other["reconstruction"], 1)


NORMED = {
    "vae": lambda: systems.vae_batchnorm_mnist(
        image_shape=SHAPE, hidden_sizes=(5,), latent_size=2, batch_size=8
    ),
    "autoencoder": lambda: learners.minimize(
        models.autoencoder(Encoder(), Decoder(), bernoulli(), image_shape=SHAPE),
        optax.adam(1e-2),
        batch_size=8,
    ),
    "gan": lambda: learners.adversarial(
        models.gan(Generator(), Critic(norm=True), latent_size=3, pixel_range=(-1.0, 1.0)),
        optax.adam(1e-2),
        optax.adam(1e-2),
        batch_size=8,
    ),
}


@pytest.mark.parametrize("name", NORMED)
def test_the_metrics_of_an_image_do_not_depend_on_its_batch(name, monkeypatch):
    learner = NORMED[name]()
    state, _ = learner.epoch(learner.init(jax.random.key(0)), pixels(16), jax.random.key(1))
    # Without noise, the only difference between the calls is the batch.
    monkeypatch.setattr(
        jax.random, "normal", lambda key, shape, dtype=jnp.float32: jnp.zeros(shape, dtype)
    )
    images = pixels(8, seed=3)
    together = learner.evaluate(state, images, jax.random.key(2))
    alone = [learner.evaluate(state, image[None], jax.random.key(2)) for image in images]
    for metric, value in together.items():
        if metric != "diversity":
            mean = np.mean([each[metric] for each in alone])
            np.testing.assert_allclose(value, mean, rtol=1e-5, atol=1e-6, err_msg=metric)


def test_batch_norm_under_a_penalty_is_refused_and_spectral_norm_is_not():
    model = models.wgan(Generator(), Critic(norm=True), latent_size=3, penalty_weight=1.0)
    with pytest.raises(UserError, match="expected a critic without BatchNorm"):
        model.init(jax.random.key(0))
    model = models.wgan(Generator(), Critic(), latent_size=3, penalty_weight=1.0)
    assert "batch_stats" in model.init(jax.random.key(0))[1]


def test_dropout_without_train_is_one_line():
    class Careless(nn.Module):
        @nn.compact
        def __call__(self, z, train):
            z = nn.Dropout(0.5, deterministic=False)(z)
            return nn.Dense(16)(z).reshape(-1, *SHAPE)

    model = models.vae(Encoder(), Careless(), bernoulli(), image_shape=SHAPE)
    learner = learners.minimize(model, optax.adam(1e-3), batch_size=BATCH)
    state = learner.init(jax.random.key(0))
    with pytest.raises(UserError, match="expected Careless to be deterministic") as error:
        learner.require("decode")(state, np.zeros((2, 3), np.float32))
    assert "\n" not in str(error.value)


class Flat(nn.Module):
    """Dense output of some shape for each image."""

    shape: tuple[int, ...]
    pair: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(int(np.prod(self.shape)))(x.reshape(len(x), -1)).reshape(-1, *self.shape)
        return (x, x) if self.pair else x


def wrong(build: Any) -> str:
    with pytest.raises(UserError) as error:
        build().init(jax.random.key(0))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("build", "expected", "found"),
    [
        (
            lambda: models.vae(Flat((16,)), Decoder(), bernoulli(), image_shape=SHAPE),
            "pair (mean, log_var)",
            "ShapeDtypeStruct",
        ),
        (
            lambda: models.vae(
                Flat((5,), True), Decoder(), bernoulli(), image_shape=SHAPE, latent_size=3
            ),
            "[N, 3]",
            "[N, 5]",
        ),
        (
            lambda: models.vae(Encoder(), Flat((16,)), bernoulli(), image_shape=SHAPE),
            "[N, 4, 4, 1]",
            "[N, 16]",
        ),
        (
            lambda: models.gan(Flat((16,)), Critic(), latent_size=3, image_shape=SHAPE),
            "[N, 4, 4, 1]",
            "[N, 16]",
        ),
        (lambda: models.gan(Generator(), Flat((1,)), latent_size=3), "[N]", "[N, 1]"),
        (lambda: models.gan(Flat((16,)), Critic(), latent_size=3), "[N, H, W, C]", "[1, 16]"),
    ],
)
def test_outputs_of_other_shapes_are_named(build, expected, found):
    message = wrong(build)
    assert expected in message
    assert f"got {found}" in message
