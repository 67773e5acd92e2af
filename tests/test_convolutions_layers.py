"""The linen layers: linen's parameters and results."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from convolution_references import agree, fast_compile

from jaxgen.convolutions import Conv, ConvTranspose


def test_layers_take_linens_parameters():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 7, 3)), jnp.float32)
    key = jax.random.key(0)
    for ours, linens in (
        (Conv(5, (3, 3)), nn.Conv(5, (3, 3))),
        (Conv(5, 4, strides=2, padding=1), nn.Conv(5, (4, 4), strides=2, padding=1)),
        (
            ConvTranspose(5, 4, strides=2, padding=1),
            nn.ConvTranspose(
                5, (4, 4), strides=(2, 2), padding=((2, 2), (2, 2)), transpose_kernel=True
            ),
        ),
        (
            ConvTranspose(5, 3, strides=2, padding=1, output_padding=1, use_bias=False),
            nn.ConvTranspose(
                5,
                (3, 3),
                strides=(2, 2),
                padding=((1, 2), (1, 2)),
                transpose_kernel=True,
                use_bias=False,
            ),
        ),
    ):
        shapes = jax.eval_shape(linens.init, key, x)
        assert shapes == jax.eval_shape(ours.init, key, x)
        variables = jax.tree.map(lambda p: jax.random.normal(key, p.shape), shapes)
        agree(
            fast_compile(ours.apply)(variables, x), fast_compile(linens.apply)(variables, x), 1e-5
        )


def test_layer_dtypes():
    x = jnp.ones((1, 4, 4, 2))
    layer = ConvTranspose(3, 2, strides=2, dtype=jnp.bfloat16)
    variables = fast_compile(layer.init)(jax.random.key(0), x)
    assert jnp.asarray(variables["params"]["kernel"]).dtype == jnp.float32
    assert jax.eval_shape(layer.apply, variables, x).dtype == jnp.bfloat16


def test_transposed_kernels_start_at_their_own_fan_in():
    layer = ConvTranspose(8, 5)
    variables = fast_compile(layer.init)(jax.random.key(0), jnp.ones((1, 4, 4, 64)))
    kernel = jnp.asarray(variables["params"]["kernel"])
    # 12,800 draws: their standard deviation is within 2 % of 1 / sqrt(5 * 5 * 64)
    assert abs(float(kernel.std()) * 40 - 1) < 0.02
