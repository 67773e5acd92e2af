"""The convolutional generators and critics: shapes, layers, initial distribution, refusals."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.networks.dcgan import (
    DigitCritic,
    DigitGenerator,
    PyramidCritic,
    PyramidGenerator,
    levels,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


def initial(network, x) -> Any:
    return jax.eval_shape(lambda key: network.init(key, x, train=False), jax.random.key(0))


def kernels(variables) -> dict[str, tuple[int, ...]]:
    params = variables["params"]
    return {name: layer["kernel"].shape for name, layer in params.items() if "kernel" in layer}


def test_the_digit_generator_is_the_published_one():
    variables = initial(DigitGenerator((28, 28, 1)), jnp.zeros((2, 100)))
    # Kernels of transposed convolutions are [kh, kw, features, channels]; none has a bias.
    assert kernels(variables) == {
        "conv_0": (5, 5, 512, 100),
        "conv_1": (5, 5, 256, 512),
        "conv_2": (5, 5, 128, 256),
        "conv_3": (5, 5, 64, 128),
        "output": (4, 4, 1, 64),
    }
    assert all("bias" not in variables["params"][name] for name in kernels(variables))
    norms = {name: tree["mean"].shape for name, tree in variables["batch_stats"].items()}
    assert norms == {"norm_0": (512,), "norm_1": (256,), "norm_2": (128,), "norm_3": (64,)}


def test_the_digit_critic_is_the_published_one():
    variables = initial(DigitCritic(), jnp.zeros((2, 28, 28, 1)))
    assert kernels(variables) == {
        "conv_0": (4, 4, 1, 64),
        "conv_1": (4, 4, 64, 128),
        "conv_2": (4, 4, 128, 256),
        "score": (256, 1),
    }
    assert set(variables["params"]["score"]) == {"kernel", "bias"}
    assert set(variables["batch_stats"]) == {"norm_1", "norm_2"}


def sizes_along(network, x) -> list[int]:
    """Heights of what the convolutions give, in the order of the layers."""

    def layers(key):
        variables = network.init(key, x, train=False)
        _, seen = network.apply(
            variables, x, train=False, mutable=["intermediates"], capture_intermediates=True
        )
        return seen["intermediates"]

    found: Any = jax.eval_shape(layers, jax.random.key(0))
    names = [name for name in found if name.startswith("conv")] + ["output"]
    return [found[name]["__call__"][0].shape[1] for name in names if name in found]


def in_training(network, x) -> Any:
    """The output and the collections of a first call in training mode."""

    @jax.jit
    def call(key):
        variables = network.init(key, x, train=False)
        return network.apply(variables, x, train=True, mutable=["batch_stats"])

    return call(jax.random.key(1))


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (DigitGenerator((28, 28, 1), (3, 3, 2, 2)), [5, 9, 21, 25, 28]),
        (DigitGenerator((32, 32, 3), (3, 3, 2, 2)), [5, 9, 21, 25, 32]),
        (PyramidGenerator((64, 64, 3), 2), [4, 8, 16, 32, 64]),
        (PyramidGenerator((32, 32, 3), 2), [4, 8, 16, 32]),
        (PyramidGenerator((28, 28, 1), 2), [7, 14, 28]),
    ],
    ids=repr,
)
def test_generators_grow_to_the_image(network, sizes):
    assert sizes_along(network, jnp.zeros((2, 5))) == sizes


@pytest.mark.parametrize(
    ("network", "lowest"),
    [(DigitGenerator((28, 28, 1), (3, 3, 2, 2)), 0), (PyramidGenerator((28, 28, 1), 2), -1)],
    ids=repr,
)
def test_generators_give_images_in_their_range(network, lowest):
    images, updated = in_training(network, jax.random.normal(jax.random.key(0), (2, 5)))
    assert images.shape == (2, *network.image_shape)
    assert lowest <= np.min(images) < lowest + 1
    assert np.max(images) <= 1
    assert "batch_stats" in updated


@pytest.mark.parametrize(
    ("network", "shape", "sizes"),
    [
        (DigitCritic((2, 3, 4)), (28, 28, 1), [14, 7, 3]),
        (DigitCritic((2, 3, 4)), (32, 32, 3), [16, 8, 4]),
        (PyramidCritic((64, 64, 3), 2), (64, 64, 3), [32, 16, 8, 4]),
        (PyramidCritic((48, 32, 3), 2), (48, 32, 3), [24, 12, 6]),
    ],
    ids=repr,
)
def test_critics_halve_the_image(network, shape, sizes):
    assert sizes_along(network, jnp.zeros((2, *shape))) == sizes


@pytest.mark.parametrize(
    "network", [DigitCritic((2, 3, 4)), PyramidCritic((28, 28, 1), 2)], ids=repr
)
def test_critics_give_one_score_for_each_image(network):
    scores, _ = in_training(network, jax.random.uniform(jax.random.key(0), (2, 28, 28, 1)))
    assert scores.shape == (2,)


def test_features_double_towards_the_smallest_picture():
    generator = kernels(initial(PyramidGenerator((64, 64, 3)), jnp.zeros((1, 100))))
    assert [shape[2] for shape in generator.values()] == [512, 256, 128, 64, 3]
    critic = kernels(initial(PyramidCritic((64, 64, 3)), jnp.zeros((1, 64, 64, 3))))
    assert [shape[3] for shape in critic.values()] == [64, 128, 256, 512, 1]
    assert critic["score"] == (4, 4, 512, 1)


@pytest.mark.slow
def test_weights_start_at_the_published_distribution():
    latents = jnp.zeros((1, 100))
    params: Any = DigitGenerator((28, 28, 1)).init(jax.random.key(0), latents, train=False)
    params = params["params"]
    weights = np.ravel(params["conv_1"]["kernel"])  # 3.3 million
    assert abs(weights.mean()) < 5 * 0.02 / np.sqrt(weights.size)
    assert weights.std() == pytest.approx(0.02, rel=5 / np.sqrt(2 * weights.size))
    scales = np.ravel(params["norm_0"]["scale"])  # 512
    assert scales.mean() == pytest.approx(1, abs=5 * 0.02 / np.sqrt(512))
    assert scales.std() == pytest.approx(0.02, rel=5 / np.sqrt(2 * 512))
    assert not np.any(params["norm_0"]["bias"])


def test_what_follows_the_layers_is_the_published_one():
    """The critic's activations and its order of layers, against lax written out."""
    images = jax.random.uniform(jax.random.key(0), (3, 12, 12, 1))
    network = DigitCritic((2, 3))
    variables: Any = network.init(jax.random.key(1), images, train=False)
    params = variables["params"]
    dims = ("NHWC", "HWIO", "NHWC")
    x = images
    for i in range(2):
        kernel = params[f"conv_{i}"]["kernel"]
        pads = ((1, 1), (1, 1))
        x = jax.lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=dims)
        if i:
            mean, var = (f(x, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
            scale = params["norm_1"]["scale"].reshape(1, 1, 1, -1)
            x = (x - mean) / jnp.sqrt(var + 1e-5) * scale
        x = jnp.where(x > 0, x, 0.01 * x)
    expected = jnp.mean(x, (1, 2)) @ params["score"]["kernel"] + params["score"]["bias"][None]
    scores, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(scores, expected[:, 0], rtol=1e-4, atol=1e-6)


def test_the_pyramid_critic_is_its_layers():
    """Two halvings, BatchNorm before the second LeakyReLU(0.2), and a convolution to one score."""
    images = jax.random.uniform(jax.random.key(0), (3, 16, 16, 1))
    network = PyramidCritic((16, 16, 1), 2)
    variables: Any = network.init(jax.random.key(1), images, train=False)
    params = variables["params"]
    convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = images
    for i in range(2):
        x = convolve(x, params[f"conv_{i}"]["kernel"], (2, 2), ((1, 1), (1, 1)))
        if i:
            mean, var = (f(x, (0, 1, 2), keepdims=True) for f in (jnp.mean, jnp.var))
            scale = params["norm_1"]["scale"].reshape(1, 1, 1, -1)
            x = (x - mean) / jnp.sqrt(var + 1e-5) * scale
        x = jnp.where(x > 0, x, 0.2 * x)
    expected = convolve(x, params["score"]["kernel"], (1, 1), "VALID")
    scores, _ = network.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(scores, expected[:, 0, 0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 28, 1), (28, 24, 1), (37, 37, 1), (64, 64, 3)], ids=str)
def test_digits_of_impossible_size_are_a_user_error(shape):
    with pytest.raises(UserError, match=r"images of 25 to 36 pixels a side, got \d+x\d+: take dcg"):
        DigitGenerator(shape)


@pytest.mark.parametrize("shape", [(30, 30, 1), (7, 7, 1), (4, 4, 1), (64, 60, 3)], ids=str)
@pytest.mark.parametrize("network", [PyramidGenerator, PyramidCritic])
def test_photographs_of_impossible_size_are_a_user_error(network, shape):
    with pytest.raises(UserError, match=r"28, 32, 48, 64 or 128, got \d+x\d+: resize them"):
        network(shape)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (8, (1, 4)),
        (14, (1, 7)),
        (28, (2, 7)),
        (32, (3, 4)),
        (48, (3, 6)),
        (64, (4, 4)),
        (128, (5, 4)),
    ],
)
def test_levels(size, expected):
    assert levels((size, size, 3)) == (expected[0], (expected[1], expected[1]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DigitGenerator((28, 28, 1), (8, 8, 8)), "features of four layers, got"),
        (lambda: initial(DigitGenerator((28, 28, 1), (8, 0, 8, 8)), jnp.zeros((1, 2))), "got 0"),
        (lambda: initial(DigitCritic((0,)), jnp.zeros((1, 28, 28, 1))), "got 0"),
        (lambda: initial(PyramidGenerator((32, 32, 3), 0), jnp.zeros((1, 2))), "got 0"),
        (lambda: initial(PyramidCritic((32, 32, 3), 0), jnp.zeros((1, 32, 32, 3))), "got 0"),
    ],
)
def test_layers_without_features_are_user_errors(build, message):
    with pytest.raises(UserError, match=message):
        build()


def test_a_network_can_be_a_part_of_another():
    class Pair(nn.Module):
        def setup(self):
            self.generator = PyramidGenerator((8, 8, 1), 2)
            self.critic = PyramidCritic((8, 8, 1), 2)

        def __call__(self, latents):
            return self.critic(self.generator(latents, train=False), train=False)

    latents = jnp.zeros((2, 3))
    variables = Pair().init(jax.random.key(0), latents)
    scores = Pair().apply(variables, latents)
    assert scores.shape == (2,)  # pyright: ignore[reportAttributeAccessIssue]


def test_photographs_are_scaled_from_the_range_of_tanh():
    learner = systems.dcgan_flowers(image_shape=(8, 8, 1), features=2, latent_size=3)
    state = learner.init(jax.random.key(0))
    images = np.asarray(learner.decode(state, 100 * np.ones((4, 3), np.float32)))
    assert 0 <= images.min() < 0.5 < images.max() <= 1
