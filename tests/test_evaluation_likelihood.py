"""Importance sampling on a model whose log p(x) is known."""

import gaussian_density
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import evaluation
from jaxgen.errors import UserError
from jaxgen.evaluation.likelihood import importance_chunks

KEY = jax.random.key(3)
LEARNER = gaussian_density.learner()
STATE = gaussian_density.state()
IMAGES = gaussian_density.images(STATE, 23)


def joined(chunks):
    return evaluation.ImportanceEstimate(*map(np.concatenate, zip(*chunks, strict=True)))


def test_the_estimate_at_5000_samples_is_within_three_standard_errors():
    learner = LEARNER
    estimate = evaluation.log_likelihood(learner, STATE, IMAGES, KEY, 5000)
    found = evaluation.importance_sampling(learner, STATE, IMAGES, KEY, 5000)
    np.testing.assert_array_equal(estimate, found.log_likelihood)
    errors = estimate - gaussian_density.log_likelihood(STATE, IMAGES)
    # Each estimate has variance near 1/ESS − 1/K, by the delta method.
    standard_errors = np.sqrt(1 / found.effective_sample_size - 1 / 5000)
    assert standard_errors.max() < 0.05
    assert (np.abs(errors) < 4 * standard_errors).all()  # 23 of them: one in 16,000 is beyond 4
    assert abs(errors.mean()) < 3 * np.sqrt(np.sum(standard_errors**2)) / len(errors)


def test_the_exact_posterior_needs_one_sample():
    # The posterior of one latent is its own diagonal: w = p(x) whatever z.
    weights = STATE["weights"].at[:, 1].set(0)
    state = STATE | {"weights": weights}
    learner = gaussian_density.learner(widening=1.0, shift=0.0)
    found = evaluation.importance_sampling(learner, state, IMAGES, KEY, 7)
    expected = gaussian_density.log_likelihood(state, IMAGES)
    np.testing.assert_allclose(found.log_likelihood, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.elbo, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.effective_sample_size, 7, rtol=1e-4)


def test_the_sums_are_those_of_numpy_on_the_same_weights():
    learner = LEARNER
    density, indices = learner.density, jnp.arange(5)
    assert density is not None
    _, samples_key = jax.random.split(KEY)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(samples_key, indices)
    posterior = density.posterior(STATE, jnp.asarray(IMAGES[:5]))

    @jax.jit
    def one(image, posterior, key):
        latents, log_q = density.sample_posterior(STATE, posterior, key, 1)
        return (density.log_joint(STATE, image, latents) - log_q)[0, 0]

    weights = np.empty((33, 5))
    for k in range(33):
        for i in range(5):
            alone = jax.tree.map(lambda x, i=i: x[i : i + 1], posterior)
            weights[k, i] = one(IMAGES[i : i + 1], alone, jax.random.fold_in(keys[i], k))
    found = evaluation.importance_sampling(learner, STATE, IMAGES[:5], KEY, 33)
    np.testing.assert_allclose(
        found.log_likelihood, np.log(np.mean(np.exp(weights), axis=0)), rtol=1e-5
    )
    np.testing.assert_allclose(found.elbo, weights.mean(axis=0), rtol=1e-5)
    shares = np.exp(weights) / np.exp(weights).sum(axis=0)
    np.testing.assert_allclose(found.effective_sample_size, 1 / (shares**2).sum(0), rtol=1e-4)


@pytest.mark.parametrize(
    ("images_at_once", "samples_at_once"), [(1, 100), (7, 1), (23, 37), (9, 8)]
)
def test_chunks_of_any_size_give_the_same(images_at_once, samples_at_once):
    learner = LEARNER
    whole = joined(importance_chunks(learner, STATE, IMAGES, KEY, 100))
    parts = joined(
        importance_chunks(
            learner,
            STATE,
            IMAGES,
            KEY,
            100,
            images_at_once=images_at_once,
            samples_at_once=samples_at_once,
        )
    )
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, atol=1e-5, rtol=0)
    np.testing.assert_allclose(parts.elbo, whole.elbo, atol=1e-4, rtol=0)
    np.testing.assert_allclose(parts.effective_sample_size, whole.effective_sample_size, rtol=1e-4)


def test_it_continues_where_it_was_interrupted():
    learner = LEARNER
    whole = evaluation.log_likelihood(learner, STATE, IMAGES, KEY, 50)
    rest = joined(importance_chunks(learner, STATE, IMAGES, KEY, 50, start=10, images_at_once=4))
    np.testing.assert_allclose(rest.log_likelihood, whole[10:], atol=1e-5, rtol=0)


def test_few_images_are_evaluated_as_among_many():
    learner = LEARNER
    few = evaluation.log_likelihood(learner, STATE, IMAGES[:3], KEY, 50)
    many = evaluation.log_likelihood(learner, STATE, IMAGES, KEY, 50)
    np.testing.assert_allclose(few, many[:3], atol=1e-5, rtol=0)


def test_weights_that_would_overflow_are_summed_all_the_same():
    # log p(x) near −40,000: exp of it is 0 in every precision.
    far = IMAGES + 100
    found = evaluation.log_likelihood(LEARNER, STATE, far, KEY, 2000)
    expected = gaussian_density.log_likelihood(STATE, far)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_labels_condition_the_model(monkeypatch):
    monkeypatch.setattr("jaxgen.evaluation._chunks.IMAGES_AT_ONCE", 9)  # 9 is not 0 modulo 4
    learner, labels = gaussian_density.learner(num_classes=4), np.arange(23) % 4
    shifted = IMAGES + labels[:, None, None, None].astype(np.float32)
    found = evaluation.log_likelihood(learner, STATE, shifted, KEY, 50, labels=labels)
    without = evaluation.log_likelihood(LEARNER, STATE, IMAGES, KEY, 50)
    np.testing.assert_allclose(found, without, atol=1e-4)


def test_the_mean_and_its_standard_error():
    values = np.array([1.0, 2.0, 4.0])
    estimate = evaluation.ImportanceEstimate(values, values, np.full(3, 50.0))
    assert estimate.mean == pytest.approx(7 / 3)
    assert estimate.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))
    assert estimate.warning is None


def test_few_effective_samples_are_said():
    bad = gaussian_density.learner(widening=0.01, shift=2.0)
    with pytest.warns(UserWarning, match="of 23 images have fewer than 10 effective samples"):
        estimate = evaluation.importance_sampling(bad, STATE, IMAGES, KEY, 20)
    assert estimate.warning is not None
    assert "\n" not in estimate.warning


def test_a_model_without_a_log_likelihood_is_refused_by_name():
    learner = gaussian_density.learner(unnormalized="squared error without its normalizer")
    for function in (evaluation.log_likelihood, evaluation.importance_sampling):
        with pytest.raises(UserError, match=r"no log-likelihood \(squared error without its norm"):
            function(learner, STATE, IMAGES, KEY, 5)
    score = evaluation.importance_sampling(learner, STATE, IMAGES, KEY, 50, score=True)
    same = evaluation.log_likelihood(LEARNER, STATE, IMAGES, KEY, 50)
    np.testing.assert_allclose(score.log_likelihood, same, rtol=1e-6)
    with pytest.raises(UserError, match=r"got one without \(GANs"):
        evaluation.log_likelihood(learner._replace(density=None), STATE, IMAGES, KEY, 5)


def test_what_cannot_be_used_is_refused_before_anything_is_computed():
    learner, broken = LEARNER, IMAGES.copy()
    broken[4] = np.nan
    with pytest.raises(UserError, match=r"NaN in 1 of 23 .*number 4"):
        evaluation.log_likelihood(learner, STATE, broken, KEY, 5)
    with pytest.raises(UserError, match="N ≥ 1"):
        evaluation.log_likelihood(learner, STATE, IMAGES[:0], KEY, 5)
    with pytest.raises(UserError, match=r"num_samples .*got 0"):
        evaluation.log_likelihood(learner, STATE, IMAGES, KEY, 0)
    with pytest.raises(UserError, match="one label for each of 23 images"):
        evaluation.log_likelihood(learner, STATE, IMAGES, KEY, 5, labels=np.zeros(4, int))
