"""Derivatives of convolutions against those of jax.lax, in reverse and forward mode, by vmap."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

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
    square,
)

from jaxgen.convolutions import choice, conv, conv_transpose, platforms


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
        got, expected = ours_and_laxs(x, w, y)
        agree(got, expected, 1e-12)


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


def both_functions(shape):
    """conv and conv_transpose, each beside jax.lax's, with arguments, tangents and cotangent."""
    g, (x, w, y) = geometry(shape), draw(shape)
    dx, dw, dy = (jnp.roll(a, 1, -2) / 2 for a in (x, w, y))  # any other numbers
    ours = partial(conv, strides=g.strides, padding=g.padding)
    transposed = partial(
        conv_transpose, strides=g.strides, padding=g.padding, output_padding=extra(g)
    )
    yield ours, partial(lax_conv, g), (x, w), (dx, dw), y
    yield transposed, partial(lax_conv_transpose, g), (y, w), (dy, dw), x


def forward_derivatives(f, primals, tangents, cotangent):
    """Derivatives of first and second order in which forward mode takes part."""

    def jvp(*primals):
        return jax.jvp(f, primals, tangents)[1]

    def vjp(*primals):
        return jax.vjp(f, *primals)[1](cotangent)

    def rematerialized_loss(*primals):
        return jnp.sum(jax.checkpoint(f)(*primals) ** 2)

    images, kernel = primals
    value, linear = jax.linearize(f, *primals)
    return {
        "jvp": jvp(*primals),
        "jvp in the images": jax.jvp(lambda a: f(a, kernel), (images,), tangents[:1]),
        "jvp in the kernel": jax.jvp(lambda w: f(images, w), (kernel,), tangents[1:]),
        "linearize": (value, linear(*tangents)),
        "transpose of linearize": jax.linear_transpose(linear, *tangents)(cotangent),
        "jvp of jvp": jax.jvp(jvp, primals, tangents),
        "jvp of vjp": jax.jvp(vjp, primals, tangents),
        "vjp of jvp": jax.vjp(jvp, *primals)[1](cotangent),
        "jvp of grad of checkpoint": jax.jvp(jax.grad(rematerialized_loss), primals, tangents),
    }


@pytest.mark.parametrize("name", ["same strides", "mixed", "plain", "one pixel"])
def test_forward_mode_agrees_with_lax(name):
    with jax.enable_x64(True):
        for ours, theirs, *arguments in both_functions(SHAPES[name]):
            got = fast_compile(partial(forward_derivatives, ours))(*arguments)
            # sums of at most a few thousand products of float64
            agree(got, fast_compile(partial(forward_derivatives, theirs))(*arguments), 1e-12)


SMALL = SHAPES["kernel below stride"]


def test_jacobians_and_hessians_agree_with_lax():
    def every(f, images, kernel, offset):
        def loss(kernel):
            return jnp.sum((f(images, kernel) - offset) ** 4)

        return (
            jax.jacfwd(f, 1)(images, kernel),
            jax.hessian(loss)(kernel),  # forward over reverse
            jax.jacrev(jax.jacfwd(loss))(kernel),
        )

    with jax.enable_x64(True):
        for ours, theirs, primals, _, offset in both_functions(SMALL):
            got = fast_compile(partial(every, ours))(*primals, offset)
            agree(got, fast_compile(partial(every, theirs))(*primals, offset), 1e-12)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "axes", [(0, 0), pytest.param((0, None), marks=SLOW), pytest.param((None, 0), marks=SLOW)]
)
def test_derivatives_of_and_under_vmap_agree_with_lax(axes):
    def every(f, primals, others):
        def total(*primals):
            return jnp.sum(jax.vmap(f, axes)(*primals) ** 2)

        def twice(images, kernel):  # the outer axis is the kernel's alone
            kernels = jnp.stack([kernel, 2 * kernel])
            return jnp.sum(jax.vmap(lambda w: jax.vmap(f, axes)(images, w))(kernels) ** 2)

        return (
            jax.vmap(lambda *primals: forward_derivatives(f, primals, *others), axes)(*primals),
            jax.jvp(jax.grad(total, (0, 1)), primals, primals),
            jax.grad(twice, (0, 1))(*primals),
        )

    with jax.enable_x64(True):
        for ours, theirs, (images, kernel), *others in both_functions(SMALL):
            primals = tuple(
                a if axis is None else jnp.stack([a, 2 * a, a - 1])
                for a, axis in zip((images, kernel), axes, strict=True)
            )
            got = fast_compile(partial(every, ours))(primals, others)
            agree(got, fast_compile(partial(every, theirs))(primals, others), 1e-12)


@pytest.mark.parametrize(
    ("batch", "function", "expected"),  # batches of their own: a traced choice is not made again
    [
        (3, lambda loss: jax.grad(loss, (0, 1)), "convolve transpose correlate"),
        (5, lambda loss: jax.grad(loss, 0), "convolve transpose"),
        (6, lambda loss: jax.grad(loss, 1), "convolve correlate"),
        (7, lambda loss: lambda *a: jax.jvp(loss, a, a), "convolve convolve convolve"),
    ],
)
def test_a_derivative_takes_the_chosen_form_of_each_product_once(
    batch, function, expected, monkeypatch
):
    g, (x, w) = square(34, 4, 2, 1), (jnp.ones((batch, 34, 34, 32)), jnp.ones((4, 4, 32, 64)))
    chosen = []

    def choose(name, *arguments):
        chosen.append((name, choice.choose(name, *arguments)))
        return chosen[-1][1]

    monkeypatch.setattr(platforms, "choose", choose)
    program = jax.jit(function(lambda x, w: jnp.sum(conv(x, w, 2, 1) ** 2))).trace(x, w)
    names = re.findall("name=(convolve|transpose|correlate)", str(program.jaxpr))
    assert sorted(names) == sorted(expected.split())
    program.lower(lowering_platforms=("cpu",))
    best = {name: choice.choose(name, g, batch, 32, 64) for name in names}
    assert dict(chosen) == best


def test_the_precision_is_that_of_the_call():
    @jax.jit
    def f(x, w):
        with jax.default_matmul_precision("highest"):
            return jnp.sum(conv(x, w) ** 2)

    program = str(jax.make_jaxpr(jax.grad(f))(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))))
    assert program.count("precision=highest") == 2


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from jaxgen.convolutions import chunks, conv

jax.config.update("jax_num_cpu_devices", 2)
chunks.CHUNK_BYTES = 4000  # several chunks
x, w = (jax.random.normal(jax.random.key(0), shape) for shape in ((8, 9, 9, 3), (3, 3, 3, 4)))

def loss(w, x):
    return jnp.sum(conv(x, w, 2, 1) ** 2)

def shared_loss(w, x):
    return jax.lax.psum(loss(w, x), "images")

def derivatives(loss):
    def f(w, x):
        gradient = jax.grad(loss, (0, 1))
        return gradient(w, x), jax.jvp(lambda w: gradient(w, x), (w,), (w,))[1]
    return f

mesh = jax.make_mesh((2,), ("images",), axis_types=(AxisType.Auto,))
specs = (P(), P("images"))
sharded = jax.shard_map(
    derivatives(shared_loss), mesh=mesh, in_specs=specs, out_specs=(specs, specs)
)
# float32: some thousand terms, added in another order
for a, b in zip(*(jax.tree.leaves(jax.jit(f)(w, x)) for f in (sharded, derivatives(loss)))):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * abs(b).max())
"""


@pytest.mark.slow
def test_gradients_in_a_shared_kernel_are_summed_over_the_devices_of_shard_map():
    root = Path(__file__).parents[1]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
