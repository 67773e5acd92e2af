"""The forms of a convolution on CPU: all give the same results; which one is chosen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolution_references import SHAPES, agree, draw, fast_compile, geometry, lax_conv, square

from jaxgen.convolutions import choice, chunks, conv, direct, fourier, karatsuba, unit_stride
from jaxgen.convolutions.column_blocks import BLOCKS_OF_2, BLOCKS_OF_4


@pytest.mark.parametrize("name", SHAPES)
def test_every_form_is_the_same_computation(name, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4000)  # chunks of 1 to 4 images, with a remainder
    with jax.enable_x64(True):
        shape, g = SHAPES[name], geometry(SHAPES[name])
        x, w, y = draw(shape)

        @fast_compile
        def every(x, w, y):
            value, vjp = jax.vjp(lambda x, w: lax_conv(g, x, w), x, w)
            given = {"convolve": (x, w), "transpose": (y, w), "correlate": (x, y)}
            return dict(zip(given, (value, *vjp(y)), strict=True)), {
                computation: [
                    getattr(form, computation)(g, *arguments)
                    for form in choice.costs(computation, g, shape[0], *shape[2], jnp.float64)
                ]
                for computation, arguments in given.items()
            }

        expected, forms = every(x, w, y)
        for computation, values in forms.items():
            for value in values:
                agree(value, expected[computation], 1e-12)


def test_planes_are_patches_transposed():
    for shape in SHAPES.values():
        x, g = draw(shape, np.float32)[0], geometry(shape)
        planes, patches = (fast_compile(partial(f, g))(x) for f in (direct.planes, direct.patches))
        np.testing.assert_array_equal(planes, patches.T)


def test_every_form_is_tested():
    tested = {
        form
        for shape in SHAPES.values()
        for name in ("convolve", "transpose", "correlate")
        for form in choice.costs(name, geometry(shape), shape[0], *shape[2], jnp.float64)
    }
    assert tested == {direct, BLOCKS_OF_2, BLOCKS_OF_4, unit_stride, karatsuba, fourier}


@pytest.mark.parametrize(
    ("name", "g", "batch", "cx", "cy", "form"),
    [
        # a quarter of the multiplications, but transforming the kernel takes many images to pay
        ("convolve", square(9, 5, 1, 0), 64, 256, 512, fourier),
        ("convolve", square(9, 5, 1, 0), 1, 256, 512, direct),
        ("convolve", square(16, 4, 2, 1), 64, 128, 256, karatsuba),  # 9 / 16 of them
        ("convolve", square(64, 4, 2, 1), 64, 32, 64, unit_stride),  # too few channels for it
        ("correlate", square(64, 4, 2, 1), 64, 32, 64, karatsuba),  # XLA has no kernel for it
        ("convolve", square(32, 3, 1, 1), 64, 3, 16, BLOCKS_OF_4),  # short patches
        ("convolve", square(5, 5, 1, 0), 64, 512, 100, direct),  # one output position
    ],
)
def test_the_choice_is_the_cheapest_form(name, g, batch, cx, cy, form):
    assert choice.choose(name, g, batch, cx, cy) == form


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about XLA on CPU")
@pytest.mark.parametrize("name", ["convolve", "transpose"])
@pytest.mark.parametrize("g", [square(66, 2, 1, 0), square(64, 4, 2, 1), square(33, 3, 1, 1)])
def test_xla_uses_its_fast_kernel_for_unit_stride(name, g):
    # Without the extra row XLA would use YNNPACK, whose calls are fusions with that name.
    x, y = jnp.ones((2, *g.image, 32)), jnp.ones((2, *g.grid, 64))
    w = jnp.ones((*g.kernel, 32, 64))
    given = (x, w) if name == "convolve" else (y, w)
    program = jax.jit(partial(getattr(unit_stride, name), g)).lower(*given).compile().as_text()
    assert program is not None
    assert " convolution(" in program
    assert "ynn" not in program


@pytest.mark.parametrize("precision", ["highest", "float32"])
def test_at_the_highest_precision_zeros_stay_zeros(precision):
    g, cx, cy, batch = square(9, 5, 1, 0), 128, 128, 64
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *g.image, cx)).astype(np.float32)
    x[:, :, 4:] = 0  # so patches from column 4 on are 0
    w = rng.standard_normal((*g.kernel, cx, cy)).astype(np.float32)
    convolve = jax.jit(conv)
    assert np.any(convolve(x, w)[:, :, 4:])
    with jax.default_matmul_precision(precision):
        assert not np.any(convolve(x, w)[:, :, 4:])
        for fast in (g, square(32, 4, 2, 1)):
            for name in ("convolve", "transpose", "correlate"):
                assert choice.choose(name, fast, 64, 256, 512) in choice.TERM_BY_TERM


@pytest.mark.parametrize("form", [karatsuba, fourier])
def test_fewer_multiplications_keep_float32s_precision(form):
    g = square(14, 4, 2, 1) if form is karatsuba else square(14, 5, 1, 0)
    rng = np.random.default_rng(0)
    x, w, y = (
        rng.standard_normal(s) for s in ((8, *g.image, 32), (*g.kernel, 32, 16), (8, *g.grid, 16))
    )
    with jax.enable_x64(True):
        exact = fast_compile(
            lambda x, w, y: (
                direct.convolve(g, x, w),
                direct.transpose(g, y, w),
                direct.correlate(g, x, y),
            )
        )(x, w, y)
    x, w, y = (jnp.asarray(a, jnp.float32) for a in (x, w, y))
    ours = fast_compile(
        lambda x, w, y: (
            form.convolve(g, x, w),
            form.transpose(g, y, w),
            form.correlate(g, x, y),
        )
    )(x, w, y)
    # a few roundings of 6e-8 each, relative to the largest value
    agree(ours, [np.asarray(a, np.float64) for a in exact], 1e-6)
