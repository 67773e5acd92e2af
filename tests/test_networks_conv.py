"""Convolutional networks against plain loops in NumPy, and their initial distribution."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.networks.conv import ConvDecoder, PoolingEncoder, StridedEncoder
from jaxgen.networks.pooling import max_pool_2x2
from jaxgen.networks.scale import GAIN, LearnedScale

pytestmark = pytest.mark.usefixtures("quick_compilation")
CHANNELS = (3, 4)
LATENT_SIZE = 2
ENCODERS = [PoolingEncoder, StridedEncoder]
# float32 against float64: sums of up to 64 products of order 1, through three layers.
close = partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5)


def build(network, inputs) -> Any:
    """Variables whose every entry is random: zeros and ones would hide what they touch."""
    shapes = jax.eval_shape(partial(network.init, train=False), jax.random.key(0), inputs)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: rng.uniform(-0.6, 0.6, x.shape).astype(np.float32), shapes)
    if "batch_stats" in variables:  # a variance is positive
        variables["batch_stats"] = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
    return variables


def init(network, *shape) -> Any:
    """Initial variables for inputs of a shape, without a pass through the network."""
    return network.lazy_init(
        jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32), train=False
    )


def apply(network, variables, inputs, **options) -> Any:
    return jax.jit(partial(network.apply, **options))(variables, inputs)


def random_images(count=3, size=8):
    return np.random.default_rng(0).random((count, size, size, 3), dtype=np.float32)


def conv(params, x, strides, padding):
    """A convolution by its definition, one place of the kernel at a time."""
    kernel: Any = np.float64(params["kernel"])
    kh, kw = kernel.shape[:2]
    x = np.pad(x.astype(np.float64), [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    h, w = ((n - k) // strides + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True))
    y = np.zeros((len(x), h, w, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            patch = x[:, i * strides : i * strides + kh, j * strides : j * strides + kw]
            y[:, i, j] = np.einsum("nabc,abcd->nd", patch, kernel)
    return y + np.asarray(params.get("bias", 0))


def conv_transpose(params, x, padding):
    """A transposed convolution of stride 2 by its definition: every pixel spreads into a patch."""
    kernel: Any = np.float64(params["kernel"])
    k, _, features, _ = kernel.shape
    n, h, w, _ = x.shape
    y = np.zeros((n, 2 * (h - 1) + k, 2 * (w - 1) + k, features))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("nc,abdc->nabd", np.float64(x[:, i, j]), kernel)
            y[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += patch
    size = slice(padding, -padding or None)
    return y[:, size, size] + np.asarray(params.get("bias", 0))


def norm(params, running, x):
    x = (x - running["mean"]) / np.sqrt(np.float64(running["var"]) + 1e-5)
    return x * params["scale"] + params["bias"]


def dense(params, x):
    return np.float64(x) @ params["kernel"] + params["bias"]


def pool(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_equal_numpy(encoder, batch_norm):
    images = random_images()
    network = encoder(CHANNELS, LATENT_SIZE, batch_norm)
    variables = build(network, images)
    mean, log_var = apply(network, variables, images, train=False)
    params, x = variables["params"], images
    for i in range(len(CHANNELS)):
        pooling = encoder is PoolingEncoder
        x = conv(params[f"conv_{i}"], x, *((1, 1) if pooling else (2, 1)))
        if batch_norm:
            x = norm(params[f"norm_{i}"], variables["batch_stats"][f"norm_{i}"], x)
        assert (x < 0).any()
        x = np.maximum(x, 0)
        x = pool(x) if pooling else x
    assert x.shape == (3, 2, 2, 4)
    x = x.reshape(3, -1)
    close(mean, dense(params["mean"], x))
    close(log_var, dense(params["log_var"], x))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("kernel_size", [2, 4])
def test_the_decoder_equals_numpy(kernel_size, batch_norm):
    latents = np.random.default_rng(0).standard_normal((3, LATENT_SIZE)).astype(np.float32)
    network = ConvDecoder(CHANNELS[::-1], (8, 12, 3), kernel_size, batch_norm)
    variables = build(network, latents)
    output = apply(network, variables, latents, train=False)
    params = variables["params"]
    x = dense(params["dense"], latents).reshape(3, 2, 3, 4)
    x = conv_transpose(params["conv_0"], x, (kernel_size - 2) // 2)
    if batch_norm:
        x = norm(params["norm_0"], variables["batch_stats"]["norm_0"], x)
    assert (x < 0).any()
    x = conv_transpose(params["conv_1"], np.maximum(x, 0), (kernel_size - 2) // 2)
    assert output.shape == x.shape == (3, 8, 12, 3)
    close(output, x)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_batch_norm_takes_the_batch_s_moments_in_training(encoder):
    images = random_images()
    network = encoder((4,), LATENT_SIZE, batch_norm=True)
    variables = build(network, images)
    _, updated = apply(network, variables, images, train=True, mutable=["batch_stats"])
    old, new = variables["batch_stats"]["norm_0"], updated["batch_stats"]["norm_0"]
    x = conv(
        variables["params"]["conv_0"], images, *((1, 1) if encoder is PoolingEncoder else (2, 1))
    )
    close(new["mean"], 0.9 * old["mean"] + 0.1 * x.mean((0, 1, 2)))
    close(new["var"], 0.9 * old["var"] + 0.1 * x.var((0, 1, 2)))


def test_no_convolution_before_a_batch_norm_has_a_bias():
    """Its gradient would be rounding noise, which Adam turns into steps."""
    encoder = build(PoolingEncoder(CHANNELS, 2, batch_norm=True), random_images())["params"]
    decoder = build(ConvDecoder(CHANNELS, (8, 8, 3), batch_norm=True), jnp.zeros((1, 2)))["params"]
    for layer in (encoder["conv_0"], encoder["conv_1"], decoder["conv_0"]):
        assert set(layer) == {"kernel"}
    assert set(decoder["conv_1"]) == {"kernel", "bias"}
    assert "norm_1" not in decoder


def uniform_within(values, bound):
    """Whether values look like U(−bound, bound): range, mean and variance."""
    unit = np.float64(values).ravel() / bound
    z_mean = unit.mean() / np.sqrt(1 / 3 / unit.size)
    z_variance = (np.mean(unit**2) - 1 / 3) / np.sqrt(4 / 45 / unit.size)
    assert np.abs(unit).max() <= 1 + 1e-6
    assert abs(z_mean) < 4
    assert abs(z_variance) < 4


@pytest.mark.parametrize(("encoder", "kernel_size"), list(zip(ENCODERS, (3, 4), strict=True)))
def test_convolutions_start_uniform_within_one_over_sqrt_fan_in(encoder, kernel_size):
    network = encoder((64, 128), LATENT_SIZE)
    params: Any = init(network, 1, 4, 4, 3)["params"]
    for name, fan_in in (("conv_0", 3 * kernel_size**2), ("conv_1", 64 * kernel_size**2)):
        uniform_within(params[name]["kernel"], fan_in**-0.5)
        uniform_within(params[name]["bias"], fan_in**-0.5)


@pytest.mark.parametrize("kernel_size", [2, 4])
def test_transposed_convolutions_start_as_pytorch_s(kernel_size):
    """PyTorch takes the second axis of [in, out, k, k] as the fan-in: the outputs."""
    network = ConvDecoder((64, 128), (8, 8, 32), kernel_size)
    params: Any = init(network, 1, 2)["params"]
    for name, features in (("conv_0", 128), ("conv_1", 32)):
        assert params[name]["kernel"].shape[:3] == (kernel_size, kernel_size, features)
        for values in params[name].values():
            uniform_within(values, (features * kernel_size**2) ** -0.5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(6, 8), (8, 6), (2, 2), (7, 7)])
def test_a_size_that_cannot_be_halved_is_a_user_error(encoder, size):
    message = rf"multiple of 4.* got {size[0]}x{size[1]}: choose"
    with pytest.raises(UserError, match=message) as error:
        init(encoder(CHANNELS, 2), 1, *size, 3)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message):
        init(ConvDecoder(CHANNELS, (*size, 3)), 1, 2)


@pytest.mark.parametrize(("channels", "message"), [((), "at least one"), ((4, 0), "conv_1 .* 0")])
def test_impossible_channels_are_user_errors(channels, message):
    for encoder in ENCODERS:
        with pytest.raises(UserError, match=message):
            init(encoder(channels, 2), 1, 8, 8, 3)


def test_max_pooling_takes_the_largest_and_its_gradient_goes_there():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 4, 3)).astype(np.float32)
    y, pullback = jax.vjp(max_pool_2x2, x)
    np.testing.assert_array_equal(y, pool(x))
    weights = rng.standard_normal(y.shape).astype(np.float32)
    (grad,) = pullback(weights)
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(y.shape):
        square = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        a, b = np.unravel_index(square.argmax(), (2, 2))
        expected[n, 2 * i + a, 2 * j + b, c] = weights[n, i, j, c]
    np.testing.assert_array_equal(grad, expected)


def test_among_equals_the_first_takes_the_gradient():
    """As in PyTorch; photographs have flat areas, where all four are equal."""
    x = jnp.zeros((1, 2, 4, 1)).at[0, 0, 2].set(-1.0).at[0, 1, 2].set(-2.0)
    grad = jax.grad(lambda x: max_pool_2x2(x).sum())(x)
    np.testing.assert_array_equal(grad[0, ..., 0], [[1, 0, 0, 1], [0, 0, 0, 0]])


def test_max_pooling_is_differentiated_twice_and_mapped():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 1, 2, 4, 2)), jnp.float32)

    def energy(x):
        return jnp.sum(max_pool_2x2(x) ** 3)

    hessian = jax.jacrev(jax.grad(energy))(x[0])
    diagonal = np.diag(np.asarray(hessian).reshape(16, 16))
    grad = np.asarray(jax.grad(energy)(x[0])).ravel()
    expected = np.where(grad != 0, 6 * np.asarray(x[0]).ravel(), 0)
    np.testing.assert_allclose(diagonal, expected, rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(max_pool_2x2)(x), [max_pool_2x2(each) for each in x])


def test_a_learned_scale_is_one_number_beside_the_image():
    latents = np.ones((3, 2), np.float32)
    decoder = ConvDecoder((4,), (4, 4, 3))
    variables: Any = init(LearnedScale(decoder), 3, 2)
    (_, at_start) = apply(LearnedScale(decoder), variables, latents, train=False)
    np.testing.assert_array_equal(at_start, np.zeros(3))
    params = variables["params"] | {"log_scale": jnp.float32(-0.1)}
    logits, log_scale = apply(LearnedScale(decoder), {"params": params}, latents, train=False)
    np.testing.assert_allclose(log_scale, np.full(3, -0.1 * GAIN), rtol=1e-6)
    expected = apply(decoder, {"params": params["decoder"]}, latents, train=False)
    np.testing.assert_array_equal(logits, expected)
