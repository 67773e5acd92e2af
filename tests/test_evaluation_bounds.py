"""Bounds, rate and distortion, and the split of the KL term, against closed forms."""

import gaussian_density
import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from jaxgen import evaluation
from jaxgen.errors import UserError

KEY = jax.random.key(5)
STATE = gaussian_density.state()
IMAGES = gaussian_density.images(STATE, 30)
LEARNER = gaussian_density.learner()


def exact_terms(state=STATE, images=IMAGES, widening=1.5, shift=0.3):
    """Rate, distortion and bound of each image in closed form, for this q(z|x)."""
    weights, bias = (np.asarray(state[name], np.float64) for name in ("weights", "bias"))
    matrix, covariance = gaussian_density.exact_posterior(state)
    x = images.reshape(len(images), -1) - bias
    mean, variance = x @ matrix.T + shift, widening * np.diag(covariance)
    rate = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(axis=1)
    s2 = gaussian_density.SCALE**2
    squares = ((x - mean @ weights.T) ** 2).sum(axis=1) + np.sum(weights**2 @ variance)
    distortion = 0.5 * (squares / s2 + 6 * np.log(2 * np.pi * s2))
    return rate, distortion


def deviation_of_log_weights(widening=1.5, shift=0.3):
    """The standard deviation of log w for each image, from samples drawn in NumPy."""
    _, covariance = gaussian_density.exact_posterior(STATE)
    variance = widening * np.diag(covariance)
    noise = np.random.default_rng(0).standard_normal((2000, 2))
    # log w = log p(x) + log p(z|x) − log q(z|x), and z − E[z|x] is the same for every x.
    z = shift + noise * variance**0.5
    log_p = -0.5 * np.einsum("ni,ij,nj->n", z, np.linalg.inv(covariance), z)
    log_q = norm.logpdf(noise).sum(axis=1)
    return np.full(len(IMAGES), np.std(log_p - log_q))


def test_the_elbo_is_the_closed_form():
    rate, distortion = exact_terms()
    found = evaluation.elbo(LEARNER, STATE, IMAGES, KEY, num_samples=4000)
    standard_errors = deviation_of_log_weights() / np.sqrt(4000)
    assert (np.abs(found + rate + distortion) < 4 * standard_errors).all()
    assert abs(np.mean(found + rate + distortion)) < 3 * standard_errors.max() / np.sqrt(30)


def test_rate_and_distortion_are_the_closed_forms():
    rate, distortion = exact_terms()
    found = evaluation.rate_distortion(LEARNER, STATE, IMAGES, KEY, num_samples=4000)
    np.testing.assert_allclose(found.rate, rate.mean(), rtol=1e-5)
    standard_error = deviation_of_log_weights().max() / np.sqrt(4000 * 30)
    np.testing.assert_allclose(found.distortion, distortion.mean(), atol=3 * standard_error)
    assert found.elbo == pytest.approx(-found.rate - found.distortion)


def test_bounds_rise_with_the_number_of_samples_to_the_truth():
    numbers = (1, 5, 50, 500, 5000)
    found = evaluation.importance_bounds(LEARNER, STATE, IMAGES, KEY, numbers)
    assert found.shape == (5, 30)
    assert (np.diff(found, axis=0) >= -1e-5).all()  # of every image: the samples are the same
    exact = gaussian_density.log_likelihood(STATE, IMAGES).mean()
    assert abs(found[-1].mean() - exact) < 0.02
    assert (np.diff(found.mean(axis=1)) > 0).all()
    estimate = evaluation.log_likelihood(LEARNER, STATE, IMAGES, KEY, 5000)
    np.testing.assert_allclose(found[-1], estimate, atol=1e-4)  # from the same samples
    average = evaluation.elbo(LEARNER, STATE, IMAGES, KEY, 5000)
    np.testing.assert_allclose(found[0], average, atol=1e-3)


def test_numbers_of_samples_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="divide the largest, 10, got 3"):
        evaluation.importance_bounds(LEARNER, STATE, IMAGES, KEY, (1, 3, 10))


def test_an_unnormalized_model_has_a_score_alone():
    learner = gaussian_density.learner(unnormalized="grey pixels under a Bernoulli likelihood")
    for function in (evaluation.elbo, evaluation.importance_bounds, evaluation.rate_distortion):
        with pytest.raises(UserError, match="grey pixels"):
            function(learner, STATE, IMAGES, KEY)
    score = evaluation.elbo(learner, STATE, IMAGES, KEY, score=True)
    np.testing.assert_allclose(score, evaluation.elbo(LEARNER, STATE, IMAGES, KEY), rtol=1e-6)


def posterior_set(num_images=200, num_dimensions=3):
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((num_images, num_dimensions)) * np.array([2.0, 1.0, 0.01])
    mean[:, 1] += 0.8 * mean[:, 0]
    return mean, np.tile(np.log([0.1, 0.3, 1.0]), (num_images, 1))


def test_the_kl_split_against_scipy_on_the_same_mixture():
    mean, log_var = posterior_set()
    found = evaluation.kl_split(mean, log_var, KEY)
    rng = np.random.default_rng(1)
    order = rng.integers(0, len(mean), 4000)
    z = mean[order] + np.exp(log_var[order] / 2) * rng.standard_normal((4000, 3))
    each = norm.logpdf(z[:, None], mean[None], np.exp(log_var / 2)[None])
    log_q = logsumexp(each.sum(axis=2), axis=1) - np.log(len(mean))
    log_q_each = logsumexp(each, axis=1) - np.log(len(mean))
    conditional = norm.logpdf(z, mean[order], np.exp(log_var[order] / 2)).sum(axis=1)
    # 200 samples here against 4,000 there, of terms with a standard deviation near 1.
    assert found.mutual_information == pytest.approx((conditional - log_q).mean(), abs=0.3)
    assert found.total_correlation == pytest.approx((log_q - log_q_each.sum(1)).mean(), abs=0.2)
    dimension_wise = (log_q_each - norm.logpdf(z)).mean(axis=0)
    np.testing.assert_allclose(found.dimension_wise_kl, dimension_wise, atol=0.5)


def test_the_parts_add_up_to_the_kl():
    mean, log_var = posterior_set(num_images=2000)
    found = evaluation.kl_split(mean, log_var, KEY)
    total = found.mutual_information + found.total_correlation + found.dimension_wise_kl.sum()
    kl = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(axis=1).mean()
    assert found.kl == pytest.approx(kl, rel=1e-5)
    assert total == pytest.approx(kl, abs=0.15)  # 2,000 samples of a deviation near 1.2


def test_the_limits_of_the_split():
    # Codes far apart: the latents name the image, log N nats. Codes that are the prior: nothing.
    apart = np.arange(50.0)[:, None] * np.array([[100.0, 1e-9]])
    found = evaluation.kl_split(apart, np.zeros((50, 2)), KEY)
    assert found.mutual_information == pytest.approx(np.log(50), abs=1e-3)
    assert found.total_correlation == pytest.approx(0, abs=1e-3)
    prior = evaluation.kl_split(np.zeros((50, 2)), np.zeros((50, 2)), KEY)
    assert prior.mutual_information == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(prior.dimension_wise_kl, 0, atol=1e-5)


@pytest.mark.slow
def test_the_split_does_not_depend_on_the_memory(monkeypatch):
    mean, log_var = posterior_set(num_images=70)
    whole = evaluation.kl_split(mean, log_var, KEY)
    monkeypatch.setattr("jaxgen.evaluation.aggregate_posterior.BYTES_AT_ONCE", 1)
    jax.clear_caches()
    parts = evaluation.kl_split(mean, log_var, KEY)
    np.testing.assert_allclose(parts.mutual_information, whole.mutual_information, rtol=1e-4)
    np.testing.assert_allclose(parts.dimension_wise_kl, whole.dimension_wise_kl, atol=1e-5)


def test_posteriors_are_those_of_the_encoder():
    found = evaluation.posteriors(LEARNER, STATE, IMAGES, KEY)
    matrix, covariance = gaussian_density.exact_posterior(STATE)
    x = IMAGES.reshape(30, -1) - np.asarray(STATE["bias"])
    np.testing.assert_allclose(found.mean, x @ matrix.T + 0.3, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.log_var[0], np.log(1.5 * np.diag(covariance)), rtol=1e-4)


def test_bits_per_dimension_and_dequantization():
    images = np.full((3, 2, 2, 1), 255, np.uint8)
    continuous = np.asarray(evaluation.dequantized(images, KEY))
    assert (continuous >= 255 / 256).all()
    assert (continuous < 1).all()
    assert len(np.unique(continuous)) == 12
    np.testing.assert_allclose(evaluation.bits_per_dimension([0.0], (2, 2, 1)), 8)  # uniform
    # A density of 256 at each value, all of it on one level: no bits.
    certain = 4 * np.log(256)
    np.testing.assert_allclose(evaluation.bits_per_dimension(certain, (2, 2, 1)), 0, atol=1e-12)
    with pytest.raises(UserError, match="float32"):
        evaluation.dequantized(continuous, KEY)
