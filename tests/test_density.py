"""Densities and importance weights against closed forms and NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import (
    FAMILIES,
    PIXELS,
    A,
    B,
    D,
    X,
    families,
    images,
    normal_log_density,
    one_layer,
    two_layers,
)

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.models import likelihoods
from jaxgen.models.losses import importance_weighted_bound
from jaxgen.types import Density, Model

pytestmark = pytest.mark.usefixtures("quick_compilation")


def density_of(model: Model) -> Density:
    assert model.density is not None
    return model.density


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=list(FAMILIES))
def weighted(request):
    """(exact log p(x), 200,000 log weights of the one image)."""
    model, exact = request.param()
    variables = model.init(jax.random.key(0))
    log_weights = jax.jit(model.log_weights, static_argnums=3)
    values = log_weights(variables, images(1000), jax.random.key(1), 200)
    assert values.shape == (200, 1000)
    return exact, np.asarray(values, np.float64).reshape(-1)


def test_the_mean_weight_is_the_likelihood(weighted):
    exact, log_weights = weighted
    weights = np.exp(log_weights - exact)  # of mean 1
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.016
    assert abs(weights.mean() - 1) < 4 * error


@pytest.mark.slow
@families
def test_the_mean_log_weight_is_the_elbo(family):
    model, _ = family()
    variables = model.init(jax.random.key(0))
    log_weights = model.log_weights(variables, images(20_000), jax.random.key(1), 4)
    metrics = model.evaluate(variables, images(80_000), jax.random.key(2), 0)
    a = np.asarray(log_weights, np.float64).reshape(-1)
    b = np.asarray(metrics["elbo"], np.float64)
    error = np.hypot(a.std() / np.sqrt(len(a)), b.std() / np.sqrt(len(b)))
    assert error < 0.016
    assert abs(a.mean() - b.mean()) < 4 * error


def test_the_elbo_of_one_layer_in_closed_form():
    model, _ = one_layer()
    variables = model.init(jax.random.key(0))
    mean, log_var = (np.float64(v[0]) for v in model.encode(variables, images(1)))
    fit = normal_log_density(X, mean @ A + B, np.eye(PIXELS))
    fit -= 0.5 * np.trace(A.T @ np.diag(np.exp(log_var)) @ A)
    kl = 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var)
    log_weights = model.log_weights(variables, images(100_000), jax.random.key(1), 4)
    values = np.asarray(log_weights, np.float64).reshape(-1)
    error = values.std() / np.sqrt(len(values))
    assert error < 0.016
    assert abs(values.mean() - (fit - kl)) < 4 * error


def test_one_layer_written_out():
    model, _ = one_layer()
    variables = model.init(jax.random.key(0))
    density = density_of(model)
    posterior = density.posterior(variables, images(2))
    latents, log_q = density.sample_posterior(variables, posterior, jax.random.key(1), 3)
    log_joint = density.log_joint(variables, images(2), latents)
    assert latents.shape == (3, 2, D)
    mean, log_var = (np.float64(v[0]) for v in posterior)
    for k in range(3):
        for i in range(2):
            z = np.float64(latents[k, i])
            q = normal_log_density(z, mean, np.diag(np.exp(log_var)))
            np.testing.assert_allclose(log_q[k, i], q, rtol=1e-5)
            p = normal_log_density(z, np.zeros(D), np.eye(D))
            p += normal_log_density(X, z @ A + B, np.eye(PIXELS))
            np.testing.assert_allclose(log_joint[k, i], p, rtol=1e-5)


def test_two_layers_written_out():
    model, _ = two_layers()
    variables = model.init(jax.random.key(0))
    density = density_of(model)
    p = jax.tree.map(np.float64, variables["params"])

    def conditional(name, x):
        mean = x @ p[name]["mean"]["w"] + p[name]["mean"]["b"]
        return mean, np.diag(np.exp(p[name]["log_var"]))

    posterior = density.posterior(variables, images(2))
    latents, log_q = density.sample_posterior(variables, posterior, jax.random.key(1), 3)
    log_joint = density.log_joint(variables, images(2), latents)
    assert [z.shape for z in latents] == [(3, 2, D), (3, 2, D)]
    for k in range(3):
        for i in range(2):
            lower, upper = (np.float64(z[k, i]) for z in latents)
            q = normal_log_density(lower, *conditional("lower_encoder", X))
            q += normal_log_density(upper, *conditional("upper_encoder", lower))
            np.testing.assert_allclose(log_q[k, i], q, rtol=1e-5)
            joint = normal_log_density(upper, np.zeros(D), np.eye(D))
            joint += normal_log_density(lower, *conditional("upper_decoder", upper))
            joint += normal_log_density(X, lower @ A + B, np.eye(PIXELS))
            np.testing.assert_allclose(log_joint[k, i], joint, rtol=1e-5)


def test_two_layers_of_the_prior():
    model, _ = two_layers()
    variables = model.init(jax.random.key(0))
    lower, upper = density_of(model).sample_prior(variables, 100_000, jax.random.key(1))
    np.testing.assert_allclose(np.cov(upper.T), np.eye(D), atol=0.02)
    p = jax.tree.map(np.float64, variables["params"]["upper_decoder"])
    rest = np.float64(lower) - (np.float64(upper) @ p["mean"]["w"] + p["mean"]["b"])
    np.testing.assert_allclose(np.cov(rest.T), np.diag(np.exp(p["log_var"])), atol=0.02)


DENSE: dict[str, Any] = {
    "image_shape": (4, 4, 1),
    "hidden_sizes": (5,),
    "latent_size": 2,
    "batch_size": 4,
    "binarization": "dynamic",
}
THRESHOLD: dict[str, Any] = DENSE | {"binarization": "threshold"}
GREY = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32)


def test_a_conditional_learner_gives_every_sample_its_own_label():
    learner = systems.cvae_mnist(**DENSE)
    state = learner.init(jax.random.key(0))
    labels = np.arange(6, dtype=np.int32)
    density = learner.density
    assert density is not None
    assert learner.log_weights is not None
    observed = density.observe(GREY, jax.random.key(1))
    assert set(np.unique(observed)) == {0.0, 1.0}
    posterior = density.posterior(state, observed, labels=labels)
    latents, log_q = density.sample_posterior(state, posterior, jax.random.key(2), 3, labels=labels)
    log_joint = density.log_joint(state, observed, latents, labels=labels)
    for i in range(6):
        one = slice(i, i + 1)
        alone = density.log_joint(state, observed[one], latents[:, one], labels=labels[one])
        np.testing.assert_allclose(log_joint[:, one], alone, rtol=1e-5)
        other = (labels[one] + 1) % 10
        assert not np.allclose(
            alone, density.log_joint(state, observed[one], latents[:, one], labels=other)
        )
    # The weights are these functions under the halves of one key.
    observe_key, samples_key = jax.random.split(jax.random.key(3))
    observed = density.observe(GREY, observe_key)
    posterior = density.posterior(state, observed, labels=labels)
    latents, log_q = density.sample_posterior(state, posterior, samples_key, 3, labels=labels)
    expected = density.log_joint(state, observed, latents, labels=labels) - log_q
    weights = learner.log_weights(state, GREY, jax.random.key(3), 3, labels=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="expected labels"):
        learner.log_weights(state, GREY, jax.random.key(3), 3)


def test_the_bound_of_the_weights_is_that_of_training():
    # Deterministic observations, one sample: the loss of the bound is minus the log weight.
    learner = systems.iwae_mnist(**THRESHOLD, num_samples=1)
    state = learner.init(jax.random.key(0))
    assert learner.log_weights is not None
    weights = learner.log_weights(state, np.tile(GREY, (500, 1, 1, 1)), jax.random.key(1), 1)
    bound = np.asarray(importance_weighted_bound(weights), np.float64)
    loss = learner.evaluate(state, np.tile(GREY, (500, 1, 1, 1)), jax.random.key(2))["loss"]
    assert abs(bound.mean() + float(loss)) < 5 * bound.std() / np.sqrt(len(bound))


def test_gans_and_plain_autoencoders_have_no_density():
    gan = systems.wgan_mnist(image_shape=(4, 4, 1), generator_sizes=(4,), critic_sizes=(4,))
    plain = systems.autoencoder_mnist(**DENSE)
    assert gan.density is plain.density is gan.log_weights is plain.log_weights is None
    with pytest.raises(UserError, match="expected a learner that has log_weights"):
        plain.require("log_weights")


@pytest.mark.parametrize(
    ("build", "unnormalized", "discrete"),
    [
        (lambda: systems.vae_mnist(), "grey pixels under a Bernoulli likelihood", True),
        (lambda: systems.vae_binarized_mnist(), None, True),
        (lambda: systems.vae_flowers(), "squared error without its normalizer", False),
        (lambda: systems.vae_flowers(likelihood="gaussian"), None, False),
        (
            lambda: systems.vae_flowers(likelihood="bernoulli"),
            "grey pixels under a Bernoulli likelihood",
            True,
        ),
    ],
)
def test_what_is_no_likelihood_says_why(build, unnormalized, discrete):
    density = build().density
    assert density.unnormalized == unnormalized
    assert density.discrete is discrete


@pytest.mark.parametrize(
    ("likelihood", "variance"),
    [
        (likelihoods.bernoulli(), lambda mean: mean * (1 - mean)),
        (likelihoods.gaussian(0.3), lambda mean: 0.09),
        (likelihoods.squared_error(), lambda mean: 0.5),
    ],
)
def test_simulated_images_have_the_moments_of_the_likelihood(likelihood, variance):
    logits = jnp.broadcast_to(jnp.linspace(-2, 2, 6).reshape(1, 2, 3, 1), (40_000, 2, 3, 1))
    drawn = np.asarray(likelihood.sample(logits, jax.random.key(0)), np.float64)
    mean = np.asarray(likelihood.mean(logits), np.float64)[0]
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(
        drawn.var(0), np.broadcast_to(variance(mean), mean.shape), rtol=0.05, atol=1e-3
    )


def test_simulated_images_of_a_learned_scale():
    likelihood = likelihoods.gaussian_learned_scale()
    assert likelihood.sample is not None
    log_scale = jnp.log(jnp.array([0.1, 0.4]))
    logits = jnp.zeros((2, 50, 50, 1))
    drawn = np.asarray(likelihood.sample((logits, log_scale), jax.random.key(0)))
    np.testing.assert_allclose(drawn.std(axis=(1, 2, 3)), [0.1, 0.4], rtol=0.05)
