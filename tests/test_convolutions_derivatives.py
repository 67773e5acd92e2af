"""Derivatives of convolutions against those of jax.lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_references import (
    SHAPES,
    agree,
    draw,
    extra,
    fast_compile,
    geometry,
    lax_conv,
    lax_conv_transpose,
)

from jaxgen.convolutions import conv, conv_transpose


def derivatives(f, a, w, cotangent):
    """Value, gradients, and the gradients of the gradients' squared length."""

    def first(a, w):
        value, vjp = jax.vjp(f, a, w)
        return value, vjp(cotangent)

    def penalty(a, w):
        return sum(jnp.sum(gradient**2) for gradient in first(a, w)[1])

    return *first(a, w), jax.grad(penalty, (0, 1))(a, w)


@pytest.mark.parametrize("name", SHAPES)
def test_agrees_with_lax_to_the_second_derivative(name):
    with jax.enable_x64(True):
        shape, g = SHAPES[name], geometry(SHAPES[name])
        x, w, y = draw(shape)
        pads, strides = g.padding, g.strides

        @fast_compile
        def ours_and_laxs(x, w, y):
            ours = (
                derivatives(lambda x, w: conv(x, w, strides, pads), x, w, y),
                derivatives(lambda y, w: conv_transpose(y, w, strides, pads, extra(g)), y, w, x),
            )
            theirs = (
                derivatives(lambda x, w: lax_conv(g, x, w), x, w, y),
                derivatives(lambda y, w: lax_conv_transpose(g, y, w), y, w, x),
            )
            return ours, theirs

        # sums of at most a few thousand products of float64
        got, wanted = ours_and_laxs(x, w, y)
        agree(got, wanted, 1e-12)


def test_vmap_over_images_kernels_and_both():
    shape = SHAPES["same strides"]
    x, w, y = draw(shape, np.float32)
    xs, ws, ys = (jnp.stack([a, 2 * a, a - 1]) for a in (x, w, y))

    def gradient(x, w, y):
        def length(x, w, y):
            x, y = conv(x, w, 2, 1), conv_transpose(y, w, 2, 1)
            return jnp.sum(x**2) + jnp.sum(y**2)

        return jax.grad(length, (0, 1, 2))(x, w, y)

    one = fast_compile(gradient)
    for axes in ((0, None, 0), (None, 0, None), (0, 0, 0)):
        args = [
            many if axis == 0 else one
            for many, one, axis in zip((xs, ws, ys), (x, w, y), axes, strict=True)
        ]
        got = fast_compile(jax.vmap(gradient, axes))(*args)
        for i in range(3):
            single = [a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)]
            agree(jax.tree.map(lambda a, i=i: a[i], got), one(*single), 1e-5)
