"""Losses against NumPy formulas in float64, numerical integration and Monte Carlo."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import losses

# float32 rounds to 6e-8; a term takes about five roundings, and terms of one sign add no more.
RTOL = 1e-6


def gaussians(shape=(7, 5)) -> Any:
    rng = np.random.default_rng(0)
    mean, log_var = 1.5 * rng.standard_normal((2, *shape))
    return mean.astype(np.float32), log_var.astype(np.float32)


def numpy_kl(mean, log_var):
    mean, log_var = np.float64(mean), np.float64(log_var)
    return 0.5 * np.sum(np.exp(log_var) + mean**2 - 1 - log_var, axis=-1)


def test_kl_equals_the_closed_form():
    mean, log_var = gaussians()
    kl = losses.kl_standard_normal(mean, log_var)
    assert kl.shape == (7,)
    assert kl.dtype == np.float32
    np.testing.assert_allclose(kl, numpy_kl(mean, log_var), rtol=RTOL)


def test_kl_gradients_equal_the_closed_form():
    mean, log_var = gaussians()
    by_mean, by_log_var = jax.grad(
        lambda mean, log_var: losses.kl_standard_normal(mean, log_var).sum(), argnums=(0, 1)
    )(mean, log_var)
    np.testing.assert_allclose(by_mean, np.float64(mean), rtol=RTOL)
    # exp(v) − 1 cancels where v is near 0, so the bound there is absolute: one rounding of 1.
    expected = 0.5 * np.expm1(np.float64(log_var))
    np.testing.assert_allclose(by_log_var, expected, rtol=RTOL, atol=1.2e-7)


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (0.7, -1.3), (-2.0, 0.5), (0.3, 2.0)])
def test_kl_equals_the_integral_that_defines_it(mean, log_var):
    # ∫ q log(q/p) over ±12 standard deviations: the trapezium rule is exact to rounding there.
    std = np.exp(log_var / 2)
    x = mean + std * np.linspace(-12, 12, 20001)
    log_q = -0.5 * ((x - mean) / std) ** 2 - np.log(std)
    log_p = -0.5 * x**2
    integral = np.trapezoid(np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q - log_p), x)
    kl = losses.kl_standard_normal(jnp.full((1, 1), mean), jnp.full((1, 1), log_var))
    np.testing.assert_allclose(kl, [integral], rtol=RTOL, atol=1e-12)


def test_kl_agrees_with_monte_carlo():
    mean, log_var = gaussians((4, 3))
    noise = np.random.default_rng(1).standard_normal((100_000, 4, 3))
    x = mean + np.exp(log_var / 2) * noise
    log_ratio = np.sum(0.5 * x**2 - 0.5 * noise**2 - log_var / 2, axis=-1)  # log q(x) − log p(x)
    standard_error = log_ratio.std(axis=0) / np.sqrt(len(log_ratio))
    z = (losses.kl_standard_normal(mean, log_var) - log_ratio.mean(axis=0)) / standard_error
    assert np.abs(z).max() < 4  # passed by chance in all but 1 of 4,000 sets of draws


@pytest.mark.parametrize("size", [1e-1, 1e-2, 1e-3, 1e-4])
def test_kl_is_accurate_near_the_prior(size):
    # exp(v) − 1 − v, computed as written, has an error of 6e-8 against a value of v²/2: nothing
    # would be left of 5e-9. With expm1 the error is a few roundings of v itself (XLA's expm1 is
    # good to about four ulp), here against a value of at least size²/2.
    log_var = np.linspace(-size, size, 201, dtype=np.float32)[:, None]
    mean = np.full_like(log_var, size)
    v, m = np.float64(log_var[:, 0]), np.float64(mean[:, 0])
    series = 0.5 * (m**2 + v**2 / 2 + v**3 / 6 + v**4 / 24 + v**5 / 120 + v**6 / 720)
    kl = losses.kl_standard_normal(jnp.asarray(mean), jnp.asarray(log_var))
    np.testing.assert_allclose(kl, series, rtol=4e-7 / size + RTOL)


def test_kl_is_never_negative_and_zero_at_the_prior():
    log_var = np.linspace(-1e-2, 1e-2, 10_001, dtype=np.float32)[:, None]
    kl = losses.kl_standard_normal(jnp.zeros_like(log_var), jnp.asarray(log_var))
    assert np.min(kl) == 0
    np.testing.assert_array_equal(np.asarray(kl)[log_var[:, 0] == 0], 0)


@pytest.mark.parametrize("log_var", [-200.0, -100.0, 80.0])
def test_kl_is_finite_far_from_the_prior(log_var):
    mean, log_var = jnp.full((1, 1), 30.0), jnp.full((1, 1), log_var)
    kl, grads = jax.value_and_grad(lambda *q: losses.kl_standard_normal(*q).sum(), argnums=(0, 1))(
        mean, log_var
    )
    np.testing.assert_allclose(kl, numpy_kl(mean, log_var)[0], rtol=RTOL)
    np.testing.assert_allclose(grads[0], mean, rtol=RTOL)
    np.testing.assert_allclose(grads[1], 0.5 * np.expm1(np.float64(log_var)), rtol=1e-5)


def test_log_var_keeps_its_bits_within_the_bounds():
    values = np.concatenate([np.linspace(-30, 30, 4001), [0.0, -0.0, 1e-38, -1e-38]])
    values = values.astype(np.float32)
    bounded = np.asarray(jax.jit(losses.bounded_log_var)(values))
    assert bounded.tobytes() == values.tobytes()
    slopes = jax.vmap(jax.grad(losses.bounded_log_var))(values)
    np.testing.assert_array_equal(slopes, 1.0)


def test_log_var_beyond_the_bounds_makes_the_variance_grow_linearly():
    values = np.array([30.5, 33, 40, 100, 1e4], np.float32)
    for sign in (1, -1):
        bounded = losses.bounded_log_var(jnp.asarray(sign * values))
        expected = sign * (30 + np.log(np.float64(values) - 29))
        np.testing.assert_allclose(bounded, expected, rtol=RTOL)
        slopes = jax.vmap(jax.grad(losses.bounded_log_var))(sign * values)
        np.testing.assert_allclose(slopes, 1 / (np.float64(values) - 29), rtol=RTOL)
        assert np.isfinite(np.exp(np.abs(np.asarray(bounded)))).all()
    assert np.isnan(losses.bounded_log_var(jnp.float32(np.nan)))  # never hidden
