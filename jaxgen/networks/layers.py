"""The layers all networks are made of, with PyTorch's initial distribution and constants.

Weights and biases start at U(−1/√fan_in, 1/√fan_in), as torch.nn's do: a third of the variance of
linen's default. On vae_mnist this start is worth half a nat after 15 epochs.
"""

import math

import flax.linen as nn
import jax

from jaxgen.errors import expect_at_least
from jaxgen.types import Array


def symmetric_uniform(bound: float) -> jax.nn.initializers.Initializer:
    """An initializer that draws from U(−bound, bound)."""

    def init(key, shape, dtype=None, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype or float, minval=-bound, maxval=bound)

    return init


def dense(x: Array, features: int, name: str) -> Array:
    """A dense layer: [B, fan_in] -> [B, features]."""
    expect_at_least(f"the size of layer {name}", features, 1)
    init = symmetric_uniform(1 / math.sqrt(x.shape[-1]))
    return nn.Dense(features, kernel_init=init, bias_init=init, name=name)(x)


def batch_norm(
    x: Array,
    train: bool,
    name: str,
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones,
) -> Array:
    """BatchNorm (arXiv:1502.03167): batch statistics where `train`, else running averages.

    The running averages keep 0.9 of their old value at each step; torch.nn calls that momentum
    0.1. The running variance is the biased one.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        use_fast_variance=False,  # E[x²] − E[x]² loses four digits of a small variance in float32
        scale_init=scale_init,
        name=name,
    )(x)
