"""The functions `conv` and `conv_transpose`, with PyTorch's padding."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxgen.convolutions.geometry import Geometry
from jaxgen.convolutions.products import convolve, transpose
from jaxgen.errors import UserError

Padding = int | str | Sequence[int | Sequence[int]]


def conv(
    images: ArrayLike,
    kernel: ArrayLike,
    strides: int | Sequence[int] = 1,
    padding: Padding = 0,
) -> Array:
    """Strided convolution, as in torch.nn.functional.conv2d and lax.conv_general_dilated.

    y[i, j] = Σ_ab x[i s - p + a, j s - p + b] w[a, b], of size (H + 2p - k) // s + 1.

    Args:
      images: [..., H, W, C], any number of leading axes.
      kernel: [kh, kw, C, features], linen's layout; torch's weight.transpose(2, 3, 1, 0).
      strides: of the kernel, one for both axes or a pair.
      padding: zeros on each side: an int, one int per axis, or a (before, after) pair per axis;
        or "SAME" or "VALID" as in linen.

    Returns:
      [..., h, w, features], in the wider of the two dtypes. Below float32, sums are taken in
      float32.

    Raises:
      UserError: for shapes that do not fit and for dtypes that are not floating.
    """
    images, kernel = _checked("conv", images, kernel, channel_axis=2)
    (*_, height, width, _), (kh, kw, *_) = images.shape, kernel.shape
    size, taps = (height, width), (kh, kw)
    strides = pair("strides", strides, least=1)
    pads = _pads(padding, size, taps, strides)
    for axis in (0, 1):
        if taps[axis] > size[axis] + sum(pads[axis]):
            raise UserError(
                f"conv: expected a kernel no larger than the padded images, got kernel {taps} over"
                f" images {size} with padding {pads}: use a smaller kernel or more padding"
            )
    g = Geometry(size, taps, strides, pads)
    return _over_leading(lambda x: convolve(g, x, kernel), images)


def conv_transpose(
    images: ArrayLike,
    kernel: ArrayLike,
    strides: int | Sequence[int] = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
) -> Array:
    """Transposed convolution, as in torch.nn.functional.conv_transpose2d.

    The adjoint of `conv` with the same kernel, strides and padding. Each pixel of the images
    contributes a patch:
    y[i s - p + a, j s - p + b] += w[a, b] x[i, j], of size (H - 1) s - 2p + k + output_padding.

    Args:
      images: [..., H, W, C], any number of leading axes.
      kernel: [kh, kw, features, C], linen's layout with transpose_kernel=True; torch's
        weight.transpose(2, 3, 1, 0).
      strides: the distance between patches, one for both axes or a pair.
      padding: rows and columns removed from each side: an int, one int per axis, or a
        (before, after) pair per axis.
      output_padding: rows and columns added at the end, less than the strides. It selects one of
        the sizes that `conv` maps to H.

    Returns:
      [..., height, width, features], in the wider of the two dtypes. Below float32, sums are
      taken in float32.

    Raises:
      UserError: for shapes that do not fit and for dtypes that are not floating.
    """
    images, kernel = _checked("conv_transpose", images, kernel, channel_axis=3)
    if isinstance(padding, str):
        raise UserError(
            f"conv_transpose: expected padding as an int or pairs, got {padding!r}: the output has"
            " size (H - 1) * strides - 2 * padding + kernel + output_padding"
        )
    kh, kw, *_ = kernel.shape
    taps, strides = (kh, kw), pair("strides", strides, least=1)
    extra = pair("output_padding", output_padding, least=0)
    pads = _pads(padding, images.shape[-3:-1], taps, strides)
    if any(e >= s for e, s in zip(extra, strides, strict=True)):
        raise UserError(
            f"conv_transpose: expected output_padding less than strides {strides}, got {extra}"
        )
    height, width = (
        (images.shape[axis - 3] - 1) * strides[axis] - sum(pads[axis]) + taps[axis] + extra[axis]
        for axis in (0, 1)
    )
    if min(height, width) < 1:
        raise UserError(
            f"conv_transpose: expected an output of at least one pixel, got {height} by {width}:"
            " use less padding or a larger kernel"
        )
    g = Geometry((height, width), taps, strides, pads)
    return _over_leading(lambda y: transpose(g, y, kernel), images)


def pair(name: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    """An int for both axes, or one per axis, as a pair."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(v, int) and v >= least for v in values):
        raise UserError(f"expected {name} as an int of at least {least} or two, got {value!r}")
    return values


def _checked(
    name: str, images: ArrayLike, kernel: ArrayLike, channel_axis: int
) -> tuple[Array, Array]:
    images, kernel = jnp.asarray(images), jnp.asarray(kernel)
    for what, array in (("images", images), ("kernel", kernel)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(
                f"{name}: expected {what} of a floating dtype, got {array.dtype}: convert them"
                " first, for example with .astype('float32')"
            )
    if images.ndim < 3 or kernel.ndim != 4:
        raise UserError(
            f"{name}: expected images [..., H, W, C] and a kernel of 4 axes, got shapes"
            f" {images.shape} and {kernel.shape}"
        )
    if 0 in kernel.shape or 0 in images.shape[-3:]:
        raise UserError(f"{name}: expected no empty axis, got {images.shape} and {kernel.shape}")
    if images.shape[-1] != kernel.shape[channel_axis]:
        layout = "[kh, kw, C, features]" if channel_axis == 2 else "[kh, kw, features, C]"
        raise UserError(
            f"{name}: expected as many channels in the images as in the kernel {layout}, got"
            f" {images.shape[-1]} and {kernel.shape[channel_axis]} (shapes {images.shape} and"
            f" {kernel.shape})"
        )
    dtype = jnp.promote_types(images.dtype, kernel.dtype)
    return images.astype(dtype), kernel.astype(dtype)


def _pads(padding: Padding, size, taps, strides) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise UserError(f"expected padding 'SAME', 'VALID', an int or pairs, got {padding!r}")
        (top, bottom), (left, right) = lax.padtype_to_pads(size, taps, strides, padding.upper())
        return (top, bottom), (left, right)
    sides = (padding, padding) if isinstance(padding, int) else tuple(padding)
    if len(sides) != 2:
        raise UserError(f"expected padding for two axes, got {padding!r}")
    top, left = (pair("padding", side, least=0) for side in sides)
    return top, left


def _over_leading(f: Callable[[Array], Array], images: Array) -> Array:
    if images.size == 0:
        out = jax.eval_shape(f, jax.ShapeDtypeStruct((1, *images.shape[-3:]), images.dtype))
        return jnp.zeros((*images.shape[:-3], *out.shape[1:]), out.dtype)
    out = f(images.reshape(-1, *images.shape[-3:]))
    return out.reshape(*images.shape[:-3], *out.shape[1:])
