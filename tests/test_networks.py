"""Networks against their equations in NumPy, and their initial distribution."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen.errors import UserError
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.usefixtures("quick_compilation")

IMAGE_SHAPE = (3, 4, 2)
SIZES = (7, 5)
LATENT_SIZE = 3
LEAKY = partial(nn.leaky_relu, negative_slope=0.2)
# float32 against float64: sums of up to 24 products of order 1, through three layers.
close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6)


def build(network, inputs) -> Any:
    """Variables whose every entry is random: zeros and ones would hide what they touch."""
    shapes = jax.eval_shape(partial(network.init, train=False), jax.random.key(0), inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.uniform(-0.6, 0.6, x.shape).astype(np.float32), shapes)


def apply(network, variables, inputs, train) -> Any:
    return network.apply(variables, inputs, train=train)


def encoder_case(activation=nn.relu, batch_norm=False, **options):
    images = np.random.default_rng(0).random((6, *IMAGE_SHAPE), dtype=np.float32)
    network = MLPEncoder(SIZES, LATENT_SIZE, activation, batch_norm, **options)
    variables = build(network, images)
    if batch_norm:  # a variance is positive
        variables["batch_stats"] = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
    return network, variables, images


@pytest.mark.parametrize(("activation", "slope"), [(nn.relu, 0.0), (LEAKY, 0.2)])
def test_encoder_equals_numpy(activation, slope):
    network, variables, images = encoder_case(activation)
    mean, log_var = apply(network, variables, images, train=True)
    params = variables["params"]
    x, caches, _ = references.hidden(params["hidden"], images.reshape(6, -1), slope)
    assert all((c.preactivation < 0).any() and (c.preactivation > 0).any() for c in caches)
    close(mean, references.dense(params["mean"], x))
    close(log_var, references.dense(params["log_var"], x))


@pytest.mark.parametrize(("activation", "slope"), [(nn.relu, 0.0), (LEAKY, 0.2)])
def test_decoder_equals_numpy(activation, slope):
    latents = np.random.default_rng(0).standard_normal((6, LATENT_SIZE)).astype(np.float32)
    network = MLPDecoder(SIZES, IMAGE_SHAPE, activation)
    variables = build(network, latents)
    output = apply(network, variables, latents, train=True)
    x, _, _ = references.hidden(variables["params"]["hidden"], latents, slope)
    expected = references.dense(variables["params"]["output"], x).reshape(6, *IMAGE_SHAPE)
    close(output, expected)


@pytest.mark.parametrize("running_variance", ["biased", "unbiased"])
def test_batch_norm_follows_the_activation_and_uses_batch_moments_in_training(running_variance):
    network, variables, images = encoder_case(batch_norm=True, running_variance=running_variance)
    with jax.enable_x64(True):  # linen takes the variance as E[x²] − E[x]²: float32 would blur it
        variables, images = jax.tree.map(np.float64, (variables, images))
        train = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))
        (mean, _), updated = train(variables, images)
    params = variables["params"]
    x, _, moments = references.hidden(params["hidden"], images.reshape(6, -1), slope=0.0)
    close = partial(np.testing.assert_allclose, rtol=1e-7)
    close(mean, references.dense(params["mean"], x))
    # Nine tenths of the old average, one tenth of the batch's mean and variance, of 6 images.
    if running_variance == "unbiased":
        moments = {
            name: {"mean": m["mean"], "var": m["var"] * 6 / 5} for name, m in moments.items()
        }
    expected = jax.tree.map(
        lambda old, new: 0.9 * old + 0.1 * new, variables["batch_stats"]["hidden"], moments
    )
    jax.tree.map(close, dict(updated["batch_stats"]["hidden"]), expected)


def test_batch_norm_uses_running_averages_in_evaluation():
    network, variables, images = encoder_case(batch_norm=True)
    mean, _ = apply(network, variables, images, train=False)
    params, running = variables["params"], variables["batch_stats"]["hidden"]
    x, _, _ = references.hidden(params["hidden"], images.reshape(6, -1), 0.0, running)
    close(mean, references.dense(params["mean"], x))
    # An image's output does not depend on its company.
    alone, _ = apply(network, variables, images[:1], train=False)
    close(alone, mean[:1])


def test_initial_parameters_are_uniform_within_one_over_sqrt_fan_in():
    network = MLPEncoder((300, 200), 50)
    init = jax.jit(partial(network.init, train=False))
    params: Any = init(jax.random.key(0), jnp.zeros((1, 14, 14, 1)))["params"]
    layers = {196: params["hidden"]["dense_0"], 300: params["hidden"]["dense_1"]}
    heads = [(200, params["mean"]), (200, params["log_var"])]
    for fan_in, layer in [*layers.items(), *heads]:
        assert layer["kernel"].shape[0] == fan_in
        for values in map(np.ravel, (layer["kernel"], layer["bias"])):
            unit = np.float64(values) * np.sqrt(fan_in)  # U(−1, 1) is expected
            assert np.abs(unit).max() <= 1 + 1e-6
            z_mean = unit.mean() / np.sqrt(1 / 3 / unit.size)
            z_variance = (np.mean(unit**2) - 1 / 3) / np.sqrt(4 / 45 / unit.size)
            assert abs(z_mean) < 4
            assert abs(z_variance) < 4
    assert not np.array_equal(params["mean"]["kernel"], params["log_var"]["kernel"])


def test_an_unknown_running_variance_is_a_user_error():
    network = MLPEncoder((3,), 2, batch_norm=True, running_variance="sample")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="biased or unbiased, got 'sample'"):
        network.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), train=False)


@pytest.mark.parametrize("size", [0, -3])
def test_an_empty_layer_is_a_user_error(size):
    latents = jnp.zeros((1, LATENT_SIZE))
    with pytest.raises(UserError, match=rf"dense_1 .*at least 1, got {size}"):
        MLPDecoder((4, size), IMAGE_SHAPE).init(jax.random.key(0), latents, train=False)
