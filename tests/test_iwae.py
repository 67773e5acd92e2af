"""Importance-weighted bounds and their gradients, where log p(x) is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import (
    FAMILIES,
    LOG_S,
    PIXELS,
    SHIFT,
    A,
    B,
    C,
    D,
    X,
    families,
    images,
    normal_log_density,
    two_layers,
)

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.models import importance, losses


@pytest.mark.slow
@families
def test_the_bound_rises_with_k_and_never_exceeds_the_log_likelihood(family):
    count, means, errors = 4000, [], []
    for k in (1, 2, 8, 32, 128):
        model, exact = family(bound="iwae", num_samples=k)
        variables = model.init(jax.random.key(0))
        metrics = jax.jit(model.evaluate)(variables, images(count), jax.random.key(k), 0)
        bound = -np.asarray(metrics["loss"], np.float64)
        means.append(bound.mean())
        errors.append(bound.std() / np.sqrt(count))
    means, errors = np.array(means), np.array(errors)
    assert np.all(np.diff(means) > -4 * np.hypot(errors[1:], errors[:-1]))
    assert np.all(means < exact + 4 * errors)
    # The gaps are real: a bound that ignored k, or log p(x), would fail here.
    assert means[0] < exact - 0.1
    assert means[-1] > exact - 0.05
    assert means[-1] - means[0] > 8 * errors[0]


@families
def test_one_sample_is_the_elbo_in_the_mean(family):
    count = 20_000
    of = {}
    for bound in ("elbo", "iwae", "dreg"):
        model, _ = family(bound=bound)
        metrics = model.evaluate(model.init(jax.random.key(0)), images(count), jax.random.key(1), 0)
        of[bound] = np.asarray(metrics["loss"], np.float64)
        # These three are the same for every objective.
        np.testing.assert_allclose(metrics["elbo"], -metrics["reconstruction"] - metrics["kl"])
    error = np.std(of["iwae"] - of["elbo"]) / np.sqrt(count)
    assert abs(of["iwae"].mean() - of["elbo"].mean()) < 4 * error
    np.testing.assert_array_equal(of["iwae"], of["dreg"])


def test_two_layers_match_a_log_weight_written_out(monkeypatch):
    model, _ = two_layers(bound="iwae", num_samples=1)
    variables = model.init(jax.random.key(0))
    p = jax.tree.map(np.float64, variables["params"])
    noise = np.random.default_rng(3).standard_normal((2, D))
    draws = iter(noise.astype(np.float32))
    monkeypatch.setattr(
        jax.random, "normal", lambda key, shape, dtype: jnp.reshape(next(draws), shape)
    )
    metrics = model.evaluate(variables, images(1), jax.random.key(0), 0)

    def conditional(name, x):
        mean = x @ p[name]["mean"]["w"] + p[name]["mean"]["b"]
        return mean, np.diag(np.exp(p[name]["log_var"]))

    mean, covariance = conditional("lower_encoder", X)
    lower = mean + np.sqrt(np.diag(covariance)) * noise[0]
    log_q = normal_log_density(lower, mean, covariance)
    mean, covariance = conditional("upper_encoder", lower)
    upper = mean + np.sqrt(np.diag(covariance)) * noise[1]
    log_q += normal_log_density(upper, mean, covariance)
    log_p = normal_log_density(upper, np.zeros(D), np.eye(D))
    log_p += normal_log_density(lower, *conditional("upper_decoder", upper))
    decoded = lower @ p["lower_decoder"]["w"] + p["lower_decoder"]["b"]
    log_p += normal_log_density(X, decoded, np.eye(PIXELS))
    np.testing.assert_allclose(metrics["loss"], [log_q - log_p], rtol=1e-5)


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=list(FAMILIES))
def gradients(request):
    """Gradients of both estimators under the same 20,000 draws, [draws, parameters] by name."""

    def of(bound):
        model, _ = request.param(bound=bound, num_samples=8)
        params = model.init(jax.random.key(0))["params"]

        def gradient(key):
            loss = lambda params: model.loss({"params": params}, images(1), key, 0)[0]  # noqa: E731
            return jax.grad(loss)(params)

        grads = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(5), 20_000))
        leaves = jax.tree.leaves_with_path(grads)
        return {
            jax.tree_util.keystr(path): np.float64(leaf).reshape(20_000, -1)
            for path, leaf in leaves
        }

    return of("iwae"), of("dreg")


def test_dreg_leaves_the_decoder_as_it_is(gradients):
    iwae, dreg = gradients
    names = [name for name in iwae if "decoder" in name]
    assert names
    for name in names:
        np.testing.assert_allclose(iwae[name], dreg[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_dreg_has_the_mean_gradient_of_the_encoder_and_less_variance(gradients):
    iwae, dreg = gradients
    names = [name for name in iwae if "encoder" in name]
    assert names
    for name in names:
        difference = iwae[name] - dreg[name]
        error = difference.std(axis=0) / np.sqrt(len(difference))
        # Parameters that multiply zeros have no gradient, and then no error either.
        assert np.all(np.abs(difference.mean(axis=0)) <= 4.5 * error + 1e-7), name
        if error.max() > 0:
            assert dreg[name].var(axis=0).sum() < 0.7 * iwae[name].var(axis=0).sum(), name


def test_dreg_weighs_each_sample_by_the_square_of_its_share():
    # log w = latents here, so that ∂ log w/∂z = 1 and the gradient is w̃² itself.
    latents = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3, 1)), jnp.float32)

    def bound(latents):
        latents, token = importance.reparameterized_again(latents)
        return jnp.sum(jnp.array([1.0, 2.0, -3.0]) * importance.bound(latents[..., 0], token))

    shares = np.exp(np.float64(latents[..., 0]))
    shares /= shares.sum(axis=0)
    expected = np.array([1, 2, -3]) * shares**2
    np.testing.assert_allclose(jax.grad(bound)(latents)[..., 0], expected, rtol=1e-5)


def test_the_bound_is_finite_where_weights_are_far_below_rounding():
    log_weights = jnp.array([[-2000.0, -3e4], [-2001.0, -3e4]])
    bound = losses.importance_weighted_bound(log_weights)
    expected = [-2000 + np.log((1 + np.exp(-1)) / 2), -3e4]
    np.testing.assert_allclose(bound, expected, rtol=1e-6)


def test_the_published_architectures():
    def size(**options):
        learner = systems.iwae_mnist(**options)
        params = jax.eval_shape(learner.init, jax.random.key(0)).params
        return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))

    dense = lambda a, b: a * b + b  # noqa: E731
    image, hidden = dense(784, 200), dense(200, 200)
    encoder = image + hidden + 2 * dense(200, 50)
    assert size() == encoder + dense(50, 200) + hidden + dense(200, 784)
    lower = image + hidden + 2 * dense(200, 100)
    upper = dense(100, 100) + dense(100, 100) + 2 * dense(100, 50)
    prior = dense(50, 100) + dense(100, 100) + 2 * dense(100, 100)
    decoder = dense(100, 200) + hidden + dense(200, 784)
    assert size(stochastic_layers=2) == lower + upper + prior + decoder


def test_two_layers_draw_both():
    model, _ = two_layers()
    variables = model.init(jax.random.key(0))
    samples = np.asarray(model.sample(variables, 100_000, jax.random.key(1))).reshape(-1, PIXELS)
    covariance = A.T @ (C.T @ C + np.diag(np.exp(LOG_S))) @ A
    np.testing.assert_allclose(np.cov(samples.T), covariance, rtol=0.05, atol=0.05)
    decoded = np.asarray(model.decode(variables, np.zeros((1, D), np.float32))).reshape(-1)
    np.testing.assert_allclose(decoded, SHIFT @ A + B, rtol=1e-4)


@pytest.mark.parametrize("stochastic_layers", [0, 3])
def test_other_numbers_of_layers_are_a_user_error(stochastic_layers):
    with pytest.raises(UserError, match=f"1 or 2, got {stochastic_layers}"):
        systems.iwae_mnist(stochastic_layers=stochastic_layers)


def test_two_layers_reconstruct_from_the_lower_one():
    model, _ = two_layers()
    variables = model.init(jax.random.key(0))
    assert model.reconstruct is not None
    mean = np.asarray(variables["params"]["lower_encoder"]["mean"]["b"])  # of any image
    decoded = np.asarray(model.reconstruct(variables, images(1))).reshape(-1)
    np.testing.assert_allclose(decoded, mean @ A + B, rtol=1e-5)
    through_both = SHIFT @ A + B
    assert not np.allclose(decoded, through_both, atol=0.1)
