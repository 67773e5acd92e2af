"""What is kept of a forward pass, counted in the program of its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.networks.conv import ConvDecoder
from jaxgen.networks.rematerialization import recompute_unsaved, save_for_backward


@pytest.mark.parametrize(("keep", "count"), [(save_for_backward, 1), (lambda x: x, 2)])
def test_saved_values_are_computed_once(keep, count):
    def function(x):
        return jnp.sin(keep(jnp.log(x)))

    gradient = jax.grad(recompute_unsaved(function))
    assert str(jax.make_jaxpr(gradient)(1.0)).count("= log ") == count
    np.testing.assert_allclose(gradient(2.0), np.cos(np.log(2)) / 2, rtol=1e-6)


def test_a_decoder_saves_the_maps_no_larger_than_the_image():
    # Maps of 4x4x40, 8x8x12, 16x16x16 and the image, 32x32x3: all but the third.
    decoder = ConvDecoder((9, 40, 12, 16), (32, 32, 3))
    latents = jnp.zeros((1, 2))
    variables = jax.eval_shape(decoder.init, jax.random.key(0), latents, False)
    program = str(jax.make_jaxpr(decoder.apply, static_argnums=2)(variables, latents, False))
    assert program.count("name=saved_for_backward") == 3
