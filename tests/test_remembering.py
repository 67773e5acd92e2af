"""What is kept of a forward pass, counted in the program of its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.remembering import forget_the_rest, remember


@pytest.mark.parametrize(("keep", "count"), [(remember, 1), (lambda x: x, 2)])
def test_what_is_remembered_is_computed_once(keep, count):
    def function(x):
        return jnp.sin(keep(jnp.log(x)))

    gradient = jax.grad(forget_the_rest(function))
    assert str(jax.make_jaxpr(gradient)(1.0)).count("= log ") == count
    np.testing.assert_allclose(gradient(2.0), np.cos(np.log(2)) / 2, rtol=1e-6)
