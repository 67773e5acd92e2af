"""Observation models against NumPy formulas in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models.likelihoods import bernoulli

SHAPE = (5, 4, 3, 2)  # [B, H, W, C]


def pixels_and_logits(grey: bool) -> Any:
    rng = np.random.default_rng(0)
    images = rng.random(SHAPE) if grey else rng.integers(0, 2, SHAPE)
    return images.astype(np.float32), (3 * rng.standard_normal(SHAPE)).astype(np.float32)


@pytest.mark.parametrize("grey", [False, True])
def test_bernoulli_equals_the_cross_entropy_of_probabilities(grey):
    images, logits = pixels_and_logits(grey)
    x, p = np.float64(images), 1 / (1 + np.exp(-np.float64(logits)))
    expected = np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=(1, 2, 3))
    log_prob = bernoulli().log_prob(logits, images)
    assert log_prob.shape == (5,)
    # A pixel is the difference of x · logit and softplus(logit), each rounded once or twice
    # (6e-8) and at most three times the size of what remains; 24 of them add with one sign.
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)


@pytest.mark.parametrize("grey", [False, True])
def test_bernoulli_gradients_equal_the_closed_form(grey):
    images, logits = pixels_and_logits(grey)
    by_logits, by_images = jax.grad(
        lambda logits, images: bernoulli().log_prob(logits, images).sum(), argnums=(0, 1)
    )(logits, images)
    # x − p is the difference of two numbers in [0, 1], and p takes some five roundings (6e-8).
    expected = images - 1 / (1 + np.exp(-np.float64(logits)))
    np.testing.assert_allclose(by_logits, expected, atol=4e-7)
    np.testing.assert_array_equal(by_images, logits)


@pytest.mark.parametrize("pixel", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_bernoulli_is_exact_at_extreme_logits(pixel, logit):
    # sigmoid(±200) is 0 or 1 in float32: the logarithm of a probability would be −∞ here.
    images = jnp.full((1, 1, 1, 1), pixel)
    value, grad = jax.value_and_grad(lambda logits: bernoulli().log_prob(logits, images).sum())(
        jnp.full((1, 1, 1, 1), logit)
    )
    assert value == pixel * logit - max(logit, 0.0)
    assert grad.item() == pixel - (1.0 if logit > 0 else 0.0)


def test_bernoulli_of_pixels_is_a_distribution():
    logits = jnp.linspace(-20, 20, 41).reshape(41, 1, 1, 1)
    off, on = (bernoulli().log_prob(logits, jnp.full(logits.shape, x)) for x in (0.0, 1.0))
    np.testing.assert_allclose(np.exp(off) + np.exp(on), 1, rtol=1e-6)


def test_bernoulli_mean_is_the_expected_pixel():
    logits = np.array([-200, -3, 0, 3, 200], np.float32).reshape(1, 1, 5, 1)
    mean = np.asarray(bernoulli().mean(jnp.asarray(logits)))
    assert mean.shape == logits.shape
    expected = [0, 1 / (1 + np.exp(3.0)), 0.5, 1 / (1 + np.exp(-3.0)), 1]
    np.testing.assert_allclose(mean.ravel(), expected, rtol=1e-6, atol=1e-37)
