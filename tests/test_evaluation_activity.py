"""Active units of one and of two layers, against their exact values."""

import jax
import linear_gaussian as known
import numpy as np
import optax
import pytest

from jaxgen import evaluation, learners, systems
from jaxgen.errors import UserError
from jaxgen.models import Hierarchy, hierarchical_vae

KEY = jax.random.key(3)
SHAPE = (6, 6, 1)


def images(number=60):
    return np.random.default_rng(0).random((number, *SHAPE)).astype(np.float32)


def test_one_layer_has_the_variance_of_its_means():
    learner = systems.vae_mnist(image_shape=SHAPE, hidden_sizes=(8,), latent_size=3)
    state = learner.init(KEY)
    state = state._replace(params=jax.tree.map(lambda x: 4 * x, state.params))
    mean, _ = learner.require("encode")(state, images())
    (found,) = evaluation.latent_activity(learner, state, images(), KEY, num_samples=1000)
    expected = np.var(np.asarray(mean, np.float64), axis=0, ddof=1)
    assert expected.max() > 0.05
    # The noise of 1,000 samples and 60 images: (1/1000) / sqrt(60), and 2 sqrt(A / (1000 * 60)).
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=0.002)


def test_sampling_noise_does_not_make_a_unit_active():
    # A posterior that ignores the image: the variance of a mean of 2 samples would be 0.5.
    learner = systems.vae_mnist(image_shape=SHAPE, hidden_sizes=(8,), latent_size=3)
    state = learner.init(KEY)
    state = state._replace(params=jax.tree.map(lambda x: 0 * x, state.params))
    (found,) = evaluation.latent_activity(learner, state, images(2000), KEY, num_samples=2)
    np.testing.assert_allclose(found, 0, atol=0.1)


def test_two_layers_have_their_exact_activity():
    # z1|x ~ N(xW + c, S) and z2|z1 ~ N(z1 V + d, T), so that E[z2|x] = (xW + c) V + d.
    rng = np.random.default_rng(1)
    into_lower, into_upper = rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
    into_upper[:, 1] = 0  # a unit that does not see the image
    networks = Hierarchy(
        lower_encoder=known.Conditional(into_lower, np.ones(2), [-1.0, 0.5]),
        upper_encoder=known.Conditional(into_upper, np.ones(2), [0.0, 0.0]),
        upper_decoder=known.Conditional(known.C, known.SHIFT, known.LOG_S),
        lower_decoder=known.Affine(known.A, known.B),
    )
    model = hierarchical_vae(networks, known.unit_gaussian(), image_shape=(1, 1, 3))
    learner = learners.minimize(model, optax.sgd(0.1), batch_size=4)
    x = rng.random((300, 3)).astype(np.float32)
    found = evaluation.latent_activity(
        learner, learner.init(KEY), x.reshape(300, 1, 1, 3), KEY, num_samples=500
    )
    for activity, mean in zip(found, (x @ into_lower, x @ into_lower @ into_upper), strict=True):
        np.testing.assert_allclose(activity, np.var(mean, axis=0, ddof=1), rtol=0.05, atol=0.002)
    assert evaluation.active_units(found)[1] == 1


def test_counts():
    assert evaluation.active_units((np.array([0.02, 0.0]), np.array([0.009, 0.5, 1.0]))) == (1, 2)


def test_it_does_not_depend_on_the_batch(monkeypatch):
    learner = systems.vae_mnist(image_shape=SHAPE, hidden_sizes=(8,), latent_size=3)
    state = learner.init(KEY)
    together = evaluation.latent_activity(learner, state, images(9), KEY)
    monkeypatch.setattr("jaxgen.evaluation._chunks.IMAGES_AT_ONCE", 4)
    apart = evaluation.latent_activity(learner, state, images(9), KEY)
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_what_cannot_be_measured_is_refused():
    learner = systems.vae_mnist(image_shape=SHAPE, hidden_sizes=(8,), latent_size=3)
    state = learner.init(KEY)
    with pytest.raises(UserError, match="even num_samples of at least 2, got 3"):
        evaluation.latent_activity(learner, state, images(), KEY, num_samples=3)
    with pytest.raises(UserError, match="at least 2 images, got 1"):
        evaluation.latent_activity(learner, state, images(1), KEY)
