"""The forms that benchmarks/loss_forms.py compares give the same results."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import loss_forms
from jaxgen import systems
from jaxgen.models import likelihoods


def test_folded_adam_is_adam():
    rng = np.random.default_rng(0)
    params = {"a": jnp.asarray(rng.standard_normal((3, 4)), jnp.float32), "b": jnp.ones(2)}
    steps = [jax.tree.map(lambda p, i=i: p * 10.0**-i, params) for i in range(6)]

    def train(adam):
        def step(carry, gradients):
            updates, state = optimizer.update(gradients, carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        optimizer = adam(1e-2)
        gradients = jax.tree.map(lambda *g: jnp.stack(g), *steps)
        return jax.lax.scan(step, (params, optimizer.init(params)), gradients)[0][0]

    ours, expected = jax.jit(lambda: (train(loss_forms.folded_adam), train(optax.adam)))()
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)  # some roundings of float32


def test_the_first_form_of_a_factor_is_the_librarys():
    values = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 5)), jnp.float32)
    first, last = ({f: list(names)[i] for f, names in loss_forms.FACTORS.items()} for i in (0, -1))
    library = likelihoods.softplus, likelihoods._sum_over_pixels, optax.adam
    with loss_forms.using(first):
        assert (likelihoods.softplus, likelihoods._sum_over_pixels, optax.adam) == library
        ours = likelihoods.bernoulli().log_prob(values, values)
    with loss_forms.using(last):
        assert likelihoods.softplus is jax.nn.softplus
        assert optax.adam is loss_forms.folded_adam
        np.testing.assert_allclose(
            likelihoods.bernoulli().log_prob(values, values),
            ours,
            rtol=1e-5,  # float32: 60 terms
        )
    assert (likelihoods.softplus, likelihoods._sum_over_pixels, optax.adam) == library


@pytest.mark.slow
def test_combinations_are_compiled_and_measured():
    def build():
        sizes = {"image_shape": (4, 4, 1), "hidden_sizes": (6,), "latent_size": 2}
        return systems.vae_mnist(**sizes, batch_size=8)

    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 1)).astype(np.uint8)
    programs = loss_forms.compile_all(build, ["sum"], images, images[:8])
    assert list(programs) == ["series product uint8 optax", "series plain uint8 optax"]
    result = {"steps": 3, "times": loss_forms.in_turns(programs, 2)}
    times = [values for each in result["times"].values() for values in each.values()]
    assert np.shape(times) == (4, 2)
    assert np.min(times) > 0
    lines = loss_forms.table(result).splitlines()
    assert "**1.00** (1.00 to 1.00)" in lines[2]
    assert lines[3].startswith("| series plain uint8 optax |")
