"""The two functions: values against jax.lax, batches, dtypes, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_references import SHAPES, agree, draw, geometry, lax_conv
from jax import lax

from jaxgen.convolutions import Conv, conv, conv_transpose
from jaxgen.errors import UserError


def test_vmap_twice():
    shape = SHAPES["padded"]
    g, (x, w, _) = geometry(shape), draw(shape, np.float32)
    xs, ws = jnp.stack([x, -x]), jnp.stack([w, w + 1, 2 * w])
    got = jax.vmap(lambda w: jax.vmap(lambda x: conv(x, w, 1, g.padding))(xs))(ws)
    want = jnp.stack([jnp.stack([lax_conv(g, x, w) for x in xs]) for w in ws])
    agree(got, want, 1e-5)


def test_scan_and_leading_axes():
    shape = SHAPES["same strides"]
    g, (x, w, _) = geometry(shape), draw(shape, np.float32)
    want = lax_conv(g, x, w)
    _, scanned = lax.scan(lambda c, x: (c, conv(x, w, 2, 1)), 0, x)  # [H, W, C] each
    agree(scanned, want, 1e-5)
    agree(conv(x[None], w, 2, 1), want[None], 1e-5)


def test_bfloat16_sums_in_float32():
    x = jnp.ones((16, 64, 64, 1), jnp.bfloat16)
    w = jnp.full((1, 1, 1, 1), 2.0**-8, jnp.bfloat16)
    for op in (conv, conv_transpose):
        out, vjp = jax.vjp(op, x, w)
        gradient = vjp(jnp.full_like(out, 2.0**-8))[1]
        # 65,536 equal terms: a bfloat16 sum stops growing after 256 of them
        assert out.dtype == gradient.dtype == jnp.bfloat16
        assert float(gradient[0, 0, 0, 0]) == 256.0
    many = jnp.ones((1, 1, 1, 65536), jnp.bfloat16)
    assert float(conv(many, many.reshape(1, 1, 65536, 1) * 2.0**-8)[0, 0, 0, 0]) == 256.0


def test_empty_batch():
    assert conv(jnp.zeros((0, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))).shape == (0, 6, 6, 4)
    assert conv_transpose(jnp.zeros((0, 8, 8, 3)), jnp.zeros((3, 3, 4, 3))).shape == (0, 10, 10, 4)


def test_same_and_valid_are_linens():
    x, w, _ = draw(SHAPES["same strides"], np.float32)
    for padding in ("SAME", "VALID"):
        want = lax.conv_general_dilated(
            x, w, (3, 2), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        agree(conv(x, w, (3, 2), padding), want, 1e-5)
    # Of an odd number of zeros the larger part stands behind.
    agree(conv(x, w, 1, "SAME"), conv(x, w, 1, ((1, 2), (1, 2))), 1e-6)
    agree(conv(x, w, 1, (1, 0)), conv(x, w, 1, ((1, 1), (0, 0))), 1e-6)


IMAGES, KERNEL = np.zeros((2, 6, 6, 3), np.float32), np.zeros((3, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv(IMAGES, np.zeros((7, 7, 3, 1), np.float32)), "no larger than the padded"),
        (lambda: conv(IMAGES, np.zeros((3, 3, 4, 1), np.float32)), "as many channels"),
        (lambda: conv(IMAGES.astype(np.uint8), KERNEL), "floating dtype, got uint8"),
        (lambda: conv(IMAGES, KERNEL.astype(np.int32)), "floating dtype, got int32"),
        (lambda: conv(IMAGES, KERNEL, 0), "strides as an int of at least 1"),
        (lambda: conv(IMAGES, KERNEL, (1, 2, 3)), "strides as an int"),
        (lambda: conv(IMAGES, KERNEL, 1, -1), "padding as an int of at least 0"),
        (lambda: conv(IMAGES, KERNEL, 1, "CIRCULAR"), "'SAME', 'VALID'"),
        (lambda: conv(IMAGES[0, 0], KERNEL), "a kernel of 4 axes"),
        (lambda: conv(IMAGES[:, :0], KERNEL), "no empty axis"),
        (lambda: conv_transpose(IMAGES, KERNEL, 2, 0, 2), "output_padding less than strides"),
        (lambda: conv_transpose(IMAGES, KERNEL[..., :2], 2), "as many channels"),
        (lambda: conv_transpose(IMAGES, KERNEL, 1, "SAME"), "padding as an int or pairs"),
        (lambda: conv_transpose(IMAGES, KERNEL, 1, 4), "at least one pixel"),
        (lambda: Conv(4, (3, 3, 3)).init(jax.random.key(0), IMAGES), "kernel_size as an int"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
