"""Annealed importance sampling and Hamiltonian Monte Carlo on models with known answers."""

import gaussian_density
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import evaluation
from jaxgen.errors import UserError
from jaxgen.evaluation import _annealed_chains, _chunks, hamiltonian

KEY = jax.random.key(7)
STATE = gaussian_density.state()
IMAGES = gaussian_density.images(STATE, 6)
LEARNER = gaussian_density.learner()
SETTINGS = {"num_chains": 32, "num_temperatures": 200, "num_leapfrog": 5}


def test_hamiltonian_chains_reach_the_density():
    scales = jnp.array([0.5, 2.0])

    @jax.jit
    def run(key):
        def move(carry, key):
            z, step_size = carry
            moved = hamiltonian.transition(
                lambda z: -0.5 * ((z / scales[None]) ** 2).sum(-1),
                z,
                step_size,
                jax.random.split(key, 2000),
                8,
            )
            adapted = hamiltonian.adapted(step_size, moved.acceptance.mean())
            return (moved.position, adapted), moved.acceptance.mean()

        start = (jnp.full((2000, 2), 3.0), jnp.full(2000, 0.01))
        return jax.lax.scan(move, start, jax.random.split(key, 300))

    (z, step_size), acceptance = run(KEY)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(z.std(axis=0), scales, rtol=0.08)
    assert 0.5 < acceptance[-100:].mean() < 0.8
    assert step_size[0] > 0.1


def test_a_transition_keeps_the_density_it_started_from():
    # From exact samples, one transition of a coarse step gives exact samples: moments stay.
    z = jax.random.normal(KEY, (40_000, 1))
    moved = hamiltonian.transition(
        lambda z: -0.5 * (z**2).sum(-1),
        z,
        jnp.full(40_000, 1.4),
        jax.random.split(jax.random.key(1), 40_000),
        3,
    )
    assert moved.acceptance.mean() < 0.95  # so that rejection takes part
    assert float(moved.position.var()) == pytest.approx(1, abs=0.03)
    assert float((moved.position**4).mean()) == pytest.approx(3, abs=0.25)


def test_diverging_trajectories_are_rejected():
    z = jnp.ones((5, 2))
    moved = hamiltonian.transition(
        lambda z: -jnp.exp(z).sum(-1) * 1e6, z, jnp.full(5, 100.0), jax.random.split(KEY, 5), 5
    )
    np.testing.assert_array_equal(moved.position, z)
    np.testing.assert_array_equal(moved.acceptance, 0)


def test_temperatures_rise_from_zero_to_one():
    betas = np.asarray(_annealed_chains.temperatures(50))
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()


def test_annealing_gives_the_known_likelihood():
    exact = gaussian_density.log_likelihood(STATE, IMAGES)
    found = evaluation.annealed_importance_sampling(LEARNER, STATE, IMAGES, KEY, **SETTINGS)
    np.testing.assert_allclose(found.lower, exact, atol=0.35)
    assert abs((found.lower - exact).mean()) < 0.15
    assert ((found.acceptance > 0.4) & (found.acceptance < 0.9)).all()


def test_an_estimate_does_not_depend_on_the_other_images(monkeypatch):
    settings = SETTINGS | {"num_chains": 4, "num_temperatures": 20}
    together = evaluation.annealed_importance_sampling(LEARNER, STATE, IMAGES, KEY, **settings)
    monkeypatch.setattr(_chunks, "IMAGES_AT_ONCE", 4)  # 6 images: a full chunk and a ragged one
    apart = evaluation.annealed_importance_sampling(LEARNER, STATE, IMAGES, KEY, **settings)
    # Products of another batch round differently; other noise would change whole nats.
    np.testing.assert_allclose(together.lower, apart.lower, atol=1e-3)
    np.testing.assert_allclose(together.acceptance, apart.acceptance, atol=1e-3)


def test_it_lies_between_the_bounds():
    found = evaluation.annealed_importance_sampling(LEARNER, STATE, IMAGES, KEY, **SETTINGS)
    one = evaluation.elbo(LEARNER, STATE, IMAGES, KEY, 1000)
    assert (
        one.mean()
        < found.lower.mean()
        < gaussian_density.log_likelihood(STATE, IMAGES).mean() + 0.1
    )


def test_without_transitions_that_move_it_is_importance_sampling_from_the_prior(monkeypatch):
    # One temperature: log w = log p(x|z) with z from the prior.
    found = evaluation.annealed_importance_sampling(
        LEARNER, STATE, IMAGES, KEY, num_chains=4000, num_temperatures=1, num_leapfrog=1
    )
    exact = gaussian_density.log_likelihood(STATE, IMAGES)
    assert abs((found.lower - exact).mean()) < 0.3


@pytest.mark.slow
def test_bidirectional_bounds_enclose_the_truth_and_close():
    wide = evaluation.bidirectional(
        LEARNER, STATE, 40, KEY, num_chains=4, num_temperatures=5, num_leapfrog=2
    )
    exact = gaussian_density.log_likelihood(STATE, wide.images)
    assert wide.lower.mean() < exact.mean() < wide.upper.mean()
    close = evaluation.bidirectional(LEARNER, STATE, 40, KEY, **SETTINGS)
    np.testing.assert_array_equal(close.images, wide.images)
    np.testing.assert_allclose([close.lower.mean(), close.upper.mean()], exact.mean(), atol=0.1)
    gap = close.upper.mean() - close.lower.mean()
    assert gap < 0.1 < wide.upper.mean() - wide.lower.mean()


def test_what_cannot_be_used_is_refused():
    learner = gaussian_density.learner(unnormalized="squared error without its normalizer")
    with pytest.raises(UserError, match="squared error"):
        evaluation.annealed_importance_sampling(learner, STATE, IMAGES, KEY)
    with pytest.raises(UserError, match="squared error"):
        evaluation.bidirectional(learner, STATE, 3, KEY)
    with pytest.raises(UserError, match="at least 1, got 0 and 10"):
        evaluation.annealed_importance_sampling(LEARNER, STATE, IMAGES, KEY, num_temperatures=0)
