"""Gaussian observation models and the squared error against NumPy formulas in float64."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models import likelihoods
from jaxgen.models.likelihoods import SQUARED_ERROR_VARIANCE, gaussian, gaussian_learned_scale

SHAPE = (5, 4, 3, 2)  # [B, H, W, C]
NUM_VALUES = 24


def pixels_and_logits() -> Any:
    rng = np.random.default_rng(0)
    images = rng.random(SHAPE).astype(np.float32)
    return images, (3 * rng.standard_normal(SHAPE)).astype(np.float32)


def numpy_mean(logits):
    return 1 / (1 + np.exp(-np.float64(logits)))


def numpy_errors(images, logits):
    return np.sum((images - numpy_mean(logits)) ** 2, axis=(1, 2, 3))


def numpy_log_prob(images, logits, scale):
    """The logarithm of a product of densities, one pixel at a time."""
    z = (images - numpy_mean(logits)) / scale
    density = np.exp(-(z**2) / 2) / (scale * np.sqrt(2 * np.pi))
    return np.log(density).sum(axis=(1, 2, 3))


def test_squared_error_is_the_whole_squared_error():
    images, logits = pixels_and_logits()
    log_prob = likelihoods.squared_error().log_prob(logits, images)
    np.testing.assert_allclose(log_prob, -numpy_errors(images, logits), rtol=2e-6)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_gaussian_is_a_density(scale):
    images, logits = pixels_and_logits()
    log_prob = gaussian(scale).log_prob(logits, images)
    assert log_prob.shape == (5,)
    # The normaliser may cancel against the rest.
    expected = numpy_log_prob(images, logits, scale)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-6, atol=1e-5)


def test_unit_variance_counts_half_the_squared_error_and_variance_one_half_all_of_it():
    images, logits = pixels_and_logits()
    error = numpy_errors(images, logits)
    unit = gaussian().log_prob(logits, images)
    np.testing.assert_allclose(unit, -error / 2 - NUM_VALUES / 2 * math.log(2 * math.pi), rtol=2e-6)
    half = gaussian(math.sqrt(SQUARED_ERROR_VARIANCE)).log_prob(logits, images)
    lacking = half - likelihoods.squared_error().log_prob(logits, images)
    np.testing.assert_allclose(lacking, -NUM_VALUES / 2 * math.log(math.pi), rtol=2e-6)


@pytest.mark.parametrize("scale", [None, 0.5, 1.0])
def test_gradients_equal_the_closed_form(scale):
    images, logits = pixels_and_logits()
    model = likelihoods.squared_error() if scale is None else gaussian(scale)
    variance = SQUARED_ERROR_VARIANCE if scale is None else scale**2
    by_logits, by_images = jax.grad(
        lambda logits, images: model.log_prob(logits, images).sum(), argnums=(0, 1)
    )(logits, images)
    mean = numpy_mean(logits)
    residual = (images - mean) / variance
    np.testing.assert_allclose(by_logits, residual * mean * (1 - mean), atol=2e-6)
    np.testing.assert_allclose(by_images, -residual, atol=2e-6)


def test_learned_scale_has_the_value_and_gradients_of_the_fixed_one():
    images, logits = pixels_and_logits()
    log_scale: Any = np.linspace(-1.5, 0.5, 5).astype(np.float32)
    model = gaussian_learned_scale()
    log_prob = model.log_prob((logits, log_scale), images)
    scale = np.exp(np.float64(log_scale)).reshape(5, 1, 1, 1)
    expected = numpy_log_prob(images, logits, scale)
    np.testing.assert_allclose(log_prob, expected, rtol=3e-6, atol=3e-5)

    by_logits, by_log_scale = jax.grad(lambda params: model.log_prob(params, images).sum())(
        (logits, log_scale)
    )
    mean = numpy_mean(logits)
    np.testing.assert_allclose(
        by_logits, (images - mean) / scale**2 * mean * (1 - mean), rtol=3e-6, atol=3e-6
    )
    expected = numpy_errors(images, logits) / scale.ravel() ** 2 - NUM_VALUES
    np.testing.assert_allclose(by_log_scale, expected, rtol=3e-6, atol=3e-5)


def test_the_best_learned_scale_is_the_root_mean_squared_error():
    images, logits = pixels_and_logits()
    rmse = np.sqrt(np.mean((images - numpy_mean(logits)) ** 2))

    def loss(log_scale):
        params = (logits, jnp.full(5, log_scale))
        return -gaussian_learned_scale().log_prob(params, images).sum()

    log_scale = jnp.float32(0)
    for _ in range(20):  # Newton's method
        log_scale -= jax.grad(loss)(log_scale) / jax.hessian(loss)(log_scale)
    assert math.exp(log_scale) == pytest.approx(rmse, rel=1e-6)


@pytest.mark.parametrize(
    "model", [likelihoods.squared_error(), gaussian(2.0), likelihoods.bernoulli()]
)
def test_the_mean_is_the_sigmoid(model):
    _, logits = pixels_and_logits()
    np.testing.assert_allclose(model.mean(logits), numpy_mean(logits), rtol=2e-6)
    learned = gaussian_learned_scale()
    np.testing.assert_array_equal(learned.mean((logits, jnp.ones(5))), model.mean(logits))


def test_averaging_predictions_averages_their_means_and_keeps_the_scale():
    _, logits = pixels_and_logits()
    stacked = np.stack([logits, 2 * logits - 1, np.zeros_like(logits)])
    log_scale = np.full((3, 5), -0.7, np.float32)
    model = gaussian_learned_scale()
    averaged, kept = model.average((stacked, log_scale))
    expected = numpy_mean(stacked).mean(0)
    np.testing.assert_allclose(model.mean((averaged, kept)), expected, rtol=3e-6)
    np.testing.assert_allclose(kept, log_scale[0], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_scale_is_a_user_error(scale):
    with pytest.raises(UserError, match=f"scale to be a number above 0, got {scale}"):
        gaussian(scale)


def test_what_is_no_likelihood_is_said():
    said: list[str] = []
    for name in ("gaussian", "gaussian_learned_scale"):
        likelihoods.warn_if_not_likelihood(name, said.append)
    assert not said
    for name in ("squared_error", "bernoulli"):
        likelihoods.warn_if_not_likelihood(name, said.append)
    assert len(said) == 2
    assert all("\n" not in line for line in said)
