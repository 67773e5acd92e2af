"""The adversarial models: what they score, measure and refuse, and what a WGAN-GP converges to."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but

from jaxgen import models
from jaxgen.errors import UserError
from jaxgen.learners import adversarial
from jaxgen.models import adversarial_losses
from jaxgen.networks.layers import batch_norm
from jaxgen.networks.mlp import MLPCritic, MLPGenerator

SHAPE = (3, 2, 1)
BATCH = 8
LOSSES = ["NON_SATURATING", "MINIMAX", "LEAST_SQUARES", "HINGE", "WASSERSTEIN"]


class NormedCritic(nn.Module):
    """A critic with BatchNorm on its pixels: its statistics are those of the images."""

    @nn.compact
    def __call__(self, images, train):
        x = batch_norm(images.reshape(len(images), -1), train, "norm")
        return nn.Dense(1, name="score")(x)[:, 0]


def model(critic=None, **options):
    options = {"image_shape": SHAPE, "latent_size": 4} | options
    made = models.gan(MLPGenerator((6,), SHAPE), critic or NormedCritic(), **options)
    return made._replace(init=jax.jit(made.init))  # one program in place of one for each operation


def pixels(seed=0, count=BATCH):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def output(module, variables, x) -> Any:
    """A network in evaluation mode."""
    return module.apply(variables, x, train=False)


def as_pixels(images, low, high):
    """What the networks see, flat and in float64."""
    return (low + (high - low) * np.asarray(images, np.float64) / 255).reshape(len(images), -1)


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_each_half_has_its_own_statistics_real_first(pixel_range):
    m = model(pixel_range=pixel_range)
    _, critic = m.init(jax.random.key(0))
    fakes = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (BATCH, *SHAPE)), jnp.float32)
    loss, (metrics, stats) = m.critic_loss(critic, pixels(), fakes, jax.random.key(1))

    real, fake = as_pixels(pixels(), *pixel_range), np.asarray(fakes, np.float64).reshape(BATCH, -1)
    mean, var = np.zeros(6), np.ones(6)
    scores = []
    kernel, bias = (np.float64(critic["params"]["score"][k]) for k in ("kernel", "bias"))
    for half in (real, fake):
        normed = (half - half.mean(0)) / np.sqrt(half.var(0) + 1e-5)
        scores.append((normed @ kernel + bias)[:, 0])
        mean, var = 0.9 * mean + 0.1 * half.mean(0), 0.9 * var + 0.1 * half.var(0)
    expected = np.logaddexp(0, -scores[0]) + np.logaddexp(0, scores[1])
    np.testing.assert_allclose(loss, expected.mean(), rtol=2e-6)
    np.testing.assert_allclose(metrics["critic_loss"], loss)
    np.testing.assert_allclose(metrics["accuracy_real"], np.mean(scores[0] > 0))
    np.testing.assert_allclose(metrics["accuracy_fake"], np.mean(scores[1] < 0))
    np.testing.assert_allclose(stats["batch_stats"]["norm"]["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["batch_stats"]["norm"]["var"], var, rtol=1e-5)


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_samples_are_the_generator_in_evaluation_mode_scaled_to_the_unit_interval(pixel_range):
    low, high = pixel_range
    m = model(pixel_range=pixel_range)
    generator, _ = m.init(jax.random.key(0))
    _, stats = m.generate(generator, 16, jax.random.key(1))
    generator = {**generator, **stats}
    latents = jax.random.normal(jax.random.key(2), (5, 4))
    raw = output(MLPGenerator((6,), SHAPE), generator, latents)
    np.testing.assert_allclose(m.decode(generator, latents), (raw - low) / (high - low), rtol=1e-6)
    drawn = m.sample(generator, 5, jax.random.key(2))
    np.testing.assert_array_equal(drawn, m.decode(generator, latents))
    fakes, _ = m.generate(generator, 5, jax.random.key(2))
    assert not np.allclose(fakes, raw, atol=1e-3)  # training mode: batch statistics


def test_evaluation_uses_running_averages_and_gives_one_number_an_image():
    m = model()
    generator, critic = m.init(jax.random.key(0))
    metrics = m.evaluate(generator, critic, pixels(), jax.random.key(3))
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(
        ["critic_loss", "generator_loss", "accuracy_real", "accuracy_fake"], (BATCH,)
    )
    x = as_pixels(pixels(), 0, 1) / np.sqrt(1 + 1e-5)  # running mean 0, variance 1
    score = critic["params"]["score"]
    scores = (x @ np.float64(score["kernel"]) + np.float64(score["bias"]))[:, 0]
    np.testing.assert_array_equal(metrics["accuracy_real"], scores > 0)
    latents = jax.random.normal(jax.random.split(jax.random.key(3))[0], (BATCH, 4))
    fakes = output(MLPGenerator((6,), SHAPE), generator, latents)
    fake_scores = np.float64(output(NormedCritic(), critic, fakes))
    of_critic = np.logaddexp(0, -scores) + np.logaddexp(0, fake_scores)
    np.testing.assert_allclose(metrics["critic_loss"], of_critic, rtol=1e-5)
    of_generator = np.logaddexp(0, -fake_scores)
    np.testing.assert_allclose(metrics["generator_loss"], of_generator, rtol=1e-5)
    alone = m.evaluate(generator, critic, pixels()[:1], jax.random.key(3))
    assert alone["accuracy_real"].shape == (1,)
    np.testing.assert_array_equal(alone["accuracy_real"], metrics["accuracy_real"][:1])


@pytest.mark.parametrize("name", slow_but({"NON_SATURATING", "WASSERSTEIN"}, LOSSES))
def test_one_generator_step_raises_the_mean_score_of_its_fakes(name):
    m = model(MLPCritic((8,)), loss=getattr(adversarial_losses, name), pixel_range=(-1.0, 1.0))
    generator, critic = m.init(jax.random.key(0))
    noise_key = jax.random.key(1)

    def fakes(params):
        return m.generate({**generator, "params": params}, 64, noise_key)[0]

    def mean_score(params):
        return float(jnp.mean(output(MLPCritic((8,)), critic, fakes(params))))

    loss = lambda params: m.generator_loss(critic, fakes(params), noise_key)[0]  # noqa: E731
    grads = jax.grad(loss)(generator["params"])
    stepped = jax.tree.map(lambda p, g: p - 0.05 * g, generator["params"], grads)
    before, after = mean_score(generator["params"]), mean_score(stepped)
    # By −rate · ⟨∇loss, ∇score⟩ to first order, which the step of 0.05 is small enough for.
    slope = jax.grad(lambda params: jnp.mean(output(MLPCritic((8,)), critic, fakes(params))))(
        generator["params"]
    )
    gain = -0.05 * sum(
        jnp.vdot(g, s) for g, s in zip(*map(jax.tree.leaves, (grads, slope)), strict=True)
    )
    assert gain > 0
    assert after - before == pytest.approx(float(gain), rel=0.2)


def test_the_wasserstein_estimate_is_the_difference_of_mean_scores():
    m = models.wgan(
        MLPGenerator((6,), SHAPE),
        MLPCritic((5,)),
        image_shape=SHAPE,
        latent_size=4,
        penalty_weight=10.0,
    )
    generator, critic = m.init(jax.random.key(0))
    fakes, _ = m.generate(generator, BATCH, jax.random.key(1))
    loss, (metrics, _) = m.critic_loss(critic, pixels(), fakes, jax.random.key(2))
    score = lambda x: output(MLPCritic((5,)), critic, x)  # noqa: E731
    real = as_pixels(pixels(), -1, 1).reshape(BATCH, *SHAPE)
    expected = np.mean(score(real)) - np.mean(score(fakes))
    np.testing.assert_allclose(metrics["wasserstein"], expected, rtol=1e-4, atol=1e-6)
    penalty = adversarial_losses.gradient_penalty(
        score, jnp.asarray(real, jnp.float32), fakes, jax.random.key(2)
    )
    np.testing.assert_allclose(metrics["gradient_penalty"], 10 * np.mean(penalty), rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["gradient_penalty"] - expected, rtol=1e-5)
    value, (_, _) = m.generator_loss(critic, fakes, jax.random.key(3))
    np.testing.assert_allclose(value, -np.mean(score(fakes)), rtol=1e-5)


def test_batch_norm_under_a_gradient_penalty_is_a_user_error():
    m = models.wgan(
        MLPGenerator((6,), SHAPE),
        NormedCritic(),
        image_shape=SHAPE,
        latent_size=4,
        penalty_weight=1.0,
    )
    with pytest.raises(UserError, match="expected a critic without BatchNorm under a gradient"):
        m.init(jax.random.key(0))


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_an_impossible_penalty_is_a_user_error(weight):
    networks = MLPGenerator((6,), SHAPE), MLPCritic((5,))
    with pytest.raises(
        UserError, match=f"penalty_weight to be a number of at least 0, got {weight}"
    ):
        models.wgan(*networks, image_shape=SHAPE, latent_size=4, penalty_weight=weight)


def test_impossible_images_and_latents_are_user_errors():
    with pytest.raises(UserError, match="latent_size"):
        model(latent_size=0)
    m = model()
    _, critic = m.init(jax.random.key(0))
    with pytest.raises(UserError, match="expected images of shape"):
        m.critic_loss(
            critic, np.zeros((2, 9, 9, 1), np.uint8), jnp.zeros((2, *SHAPE)), jax.random.key(0)
        )


class Identity(nn.Module):
    """Latents as they are: the fakes are N(0, 1)."""

    @nn.compact
    def __call__(self, latents, train):
        return latents[:, None, None, :]


@pytest.mark.slow
def test_wgan_gp_in_one_dimension_reaches_its_optimum():
    # The best critic has slope s = 1 + W/(2λ): it maximises W s − λ (s − 1)². Its estimate is
    # W s = W + W²/(2λ), 3.45 for W = 3 and λ = 10.
    m = models.wgan(
        Identity(),
        MLPCritic((32, 32), nn.leaky_relu),
        image_shape=(1, 1, 1),
        latent_size=1,
        penalty_weight=10.0,
        pixel_range=(0.0, 1.0),  # takes pixels as they are
    )
    learner = adversarial(m, optax.sgd(0.0), optax.adam(1e-3), 50, batch_size=256)
    images = 3 + jax.random.normal(jax.random.key(0), (50 * 256, 1, 1, 1))
    state = learner.init(jax.random.key(1))
    for i in range(40):
        state, _ = learner.epoch(state, images, jax.random.key(2 + i))
    real = 3 + jax.random.normal(jax.random.key(100), (20_000, 1, 1, 1))
    metrics = learner.evaluate(state, real, jax.random.key(101))
    # Two means of 20,000 draws differ by a standard deviation of 0.01 · s from 3.
    assert float(metrics["wasserstein"]) == pytest.approx(3.45, abs=0.1)
    assert float(metrics["gradient_penalty"]) == pytest.approx(10 * 0.15**2, abs=0.05)


def test_least_squares_takes_a_score_above_one_half_for_real():
    m = model(loss=adversarial_losses.LEAST_SQUARES)
    generator, critic = m.init(jax.random.key(0))
    for score, real in ((0.3, 0), (0.7, 1)):
        score_layer = {"kernel": jnp.zeros((6, 1)), "bias": jnp.full(1, score)}
        params = critic["params"] | {"score": score_layer}
        metrics = m.evaluate(generator, critic | {"params": params}, pixels(), jax.random.key(1))
        np.testing.assert_array_equal(metrics["accuracy_real"], real)
        np.testing.assert_array_equal(metrics["accuracy_fake"], 1 - real)
