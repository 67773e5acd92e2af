"""softplus against NumPy in float64, values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgen.networks.softplus import softplus

XS = np.concatenate([np.linspace(-80, 80, 4001), [0.0, 1e-7, -1e-7]])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_values_keep_their_relative_precision(dtype):
    with jax.enable_x64(dtype == "float64"):
        eps = float(jnp.finfo(dtype).eps)
        smallest = float(jnp.finfo(dtype).tiny)
        x = jnp.asarray(XS[np.exp(-np.abs(XS)) > 2 * smallest], dtype)
        value = softplus(x)
        assert value.dtype == x.dtype
        # Some six half roundings (eps / 2), those of the series weighted by s² ≤ 1/9.
        expected = np.logaddexp(0, np.asarray(x, np.float64))
        np.testing.assert_allclose(np.asarray(value, np.float64), expected, rtol=3 * eps)


def test_extremes():
    x = jnp.array([-np.inf, -1e30, 0.0, 1e30, np.inf, np.nan])
    expected = np.array([0, 0, np.log(2), 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_allclose(jax.jit(softplus)(x), expected, rtol=3e-7)  # log(2), two roundings
    grads = jax.vmap(jax.grad(softplus))(x[:-1])
    np.testing.assert_array_equal(grads, np.array([0, 0, 0.5, 1, 1], np.float32))


def test_derivatives_are_those_of_the_function():
    with jax.enable_x64():
        x = jnp.array([-30.0, -2.5, -1e-3, 0.0, 0.7, 12.0])
        p = 1 / (1 + np.exp(-np.asarray(x)))
        np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(x), p, rtol=1e-15)
        np.testing.assert_allclose(
            jax.vmap(jax.grad(jax.grad(softplus)))(x), p * (1 - p), rtol=1e-14
        )
        # Finite differences do not use the custom rule.
        check_grads(softplus, (x,), order=2, modes=["fwd", "rev"])
