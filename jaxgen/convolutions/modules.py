"""Linen layers: Conv and ConvTranspose."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array

from jaxgen.convolutions.functions import Padding, conv, conv_transpose, pair

# ConvTranspose's kernel is [kh, kw, features, channels]: its fan-in is on the last axis.
_transpose_init = jax.nn.initializers.variance_scaling(
    1.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2
)


class Conv(nn.Module):
    """Strided convolution of images [..., H, W, C]: `conv` with a bias, as a linen module.

    The output has size (H + 2 * padding - kernel_size) // strides + 1, as in torch.nn.Conv2d.
    Parameters are "kernel" [kh, kw, C, features] and "bias" [features], as in linen's own Conv,
    whose checkpoints load.

    Attributes:
      features: channels of the output.
      kernel_size: an int, or one per axis.
      strides: an int, or one per axis.
      padding: "SAME" (linen's default), "VALID", an int, an int per axis or (before, after) pairs
        per axis. PyTorch's default is 0.
      use_bias: add a bias.
      dtype: of the computation; None takes the widest of images and parameters.
      param_dtype: of the parameters.
      kernel_init: kernel initializer.
      bias_init: bias initializer.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: jnp.dtype | type | None = None
    param_dtype: jnp.dtype | type = jnp.float32
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Array] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Images [..., H, W, C] -> [..., h, w, features]."""
        shape = (*pair("kernel_size", self.kernel_size, least=1), images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        images, kernel, bias = promote_dtype(images, kernel, bias, dtype=self.dtype)
        out = conv(images, kernel, self.strides, self.padding)
        return out if bias is None else out + bias.reshape((1,) * (out.ndim - 1) + (-1,))


class ConvTranspose(nn.Module):
    """Transposed convolution of images [..., H, W, C]: `conv_transpose` with a bias.

    The output has size (H - 1) * strides - 2 * padding + kernel_size + output_padding, as in
    torch.nn.ConvTranspose2d. Parameters are "kernel" [kh, kw, features, C] and "bias" [features]:
    the layout of linen's ConvTranspose(transpose_kernel=True), whose checkpoints load. A kernel
    of linen's default, transpose_kernel=False, is kernel[::-1, ::-1].swapaxes(2, 3) here.
    Padding p here is padding k - 1 - p in linen.

    Attributes:
      features: channels of the output.
      kernel_size: an int, or one per axis.
      strides: an int, or one per axis.
      padding: rows and columns removed from each side: an int, an int per axis or
        (before, after) pairs per axis.
      output_padding: rows and columns added at the end, less than the strides.
      use_bias: add a bias.
      dtype: of the computation; None takes the widest of images and parameters.
      param_dtype: of the parameters.
      kernel_init: kernel initializer; the default scales by kh * kw * C, the true fan-in.
      bias_init: bias initializer.
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = 0
    output_padding: int | Sequence[int] = 0
    use_bias: bool = True
    dtype: jnp.dtype | type | None = None
    param_dtype: jnp.dtype | type = jnp.float32
    kernel_init: Callable[..., Array] = _transpose_init
    bias_init: Callable[..., Array] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Images [..., H, W, C] -> [..., height, width, features]."""
        shape = (*pair("kernel_size", self.kernel_size, least=1), self.features, images.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        images, kernel, bias = promote_dtype(images, kernel, bias, dtype=self.dtype)
        out = conv_transpose(images, kernel, self.strides, self.padding, self.output_padding)
        return out if bias is None else out + bias.reshape((1,) * (out.ndim - 1) + (-1,))
