"""Strided and transposed convolution against jax.lax, in float64 and to the second derivative."""

import platform
import re
from functools import partial

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest
from jax import lax

from jaxgen.convolutions import (
    Conv,
    ConvTranspose,
    choice,
    chunks,
    conv,
    conv_transpose,
    direct,
    fourier,
    karatsuba,
    onednn,
    unit_stride,
)
from jaxgen.convolutions.geometry import Geometry
from jaxgen.convolutions.neighbours import FOURS, PAIRS
from jaxgen.errors import UserError

# images, (height, width), channels of x and y, kernel, strides, padding
SHAPES = {
    "plain": (3, (9, 8), (4, 6), (5, 5), (1, 1), ((0, 0), (0, 0))),
    "padded": (7, (11, 13), (5, 3), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "same strides": (5, (8, 8), (9, 8), (4, 4), (2, 2), ((1, 1), (1, 1))),
    "left over": (3, (12, 11), (10, 1), (5, 5), (2, 2), ((2, 2), (2, 2))),
    "mixed": (2, (7, 10), (3, 5), (3, 2), (2, 3), ((1, 0), (0, 2))),
    "kernel 1": (1, (6, 5), (2, 3), (1, 1), (1, 1), ((0, 0), (0, 0))),
    "kernel 1 strided": (2, (9, 7), (4, 2), (1, 1), (2, 2), ((0, 0), (0, 0))),
    "kernel below stride": (2, (10, 11), (3, 3), (2, 2), (3, 3), ((0, 0), (0, 1))),
    "one place": (2, (5, 5), (12, 3), (5, 5), (1, 1), ((0, 0), (0, 0))),
    "one pixel": (4, (1, 1), (3, 10), (3, 3), (1, 1), ((1, 1), (1, 1))),
    "two taps, odd grid": (5, (9, 6), (3, 4), (4, 3), (2, 2), ((1, 0), (1, 1))),
    "two taps": (3, (6, 5), (2, 4), (2, 2), (1, 1), ((0, 0), (1, 0))),
    "padding above kernel": (2, (4, 3), (3, 9), (2, 2), (2, 2), ((3, 0), (2, 3))),
    "wide": (3, (6, 17), (16, 18), (3, 4), (1, 1), ((0, 2), (3, 1))),
    "fours": (3, (7, 8), (3, 4), (3, 3), (1, 1), ((1, 1), (1, 1))),
}


def geometry(shape):
    _, size, _, kernel, strides, padding = shape
    return Geometry(size, kernel, strides, padding)


def extra(g):
    """The output padding that brings the transposed convolution back to g.image."""
    return tuple(
        (size + sum(pads) - taps) % stride
        for size, taps, stride, pads in zip(g.image, g.kernel, g.strides, g.padding, strict=True)
    )


def draw(shape, dtype: type = np.float64):
    """x, w, y of the right shapes."""
    n, _, (cx, cy), *_ = shape
    g, rng = geometry(shape), np.random.default_rng(1)
    shapes = ((n, *g.image, cx), (*g.kernel, cx, cy), (n, *g.grid, cy))
    return [jnp.asarray(rng.standard_normal(s), dtype) for s in shapes]


def lax_conv(g, x, w):
    return lax.conv_general_dilated(
        x, w, g.strides, g.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def lax_conv_transpose(g, y, w):
    pads = [
        (taps - 1 - before, taps - 1 - after + more)
        for taps, (before, after), more in zip(g.kernel, g.padding, extra(g), strict=True)
    ]
    return lax.conv_general_dilated(
        y,
        w[::-1, ::-1].swapaxes(2, 3),
        (1, 1),
        pads,
        lhs_dilation=g.strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def derivatives(f, a, w, cotangent):
    """Value, gradients, and the gradients of the gradients' squared length."""

    def first(a, w):
        value, vjp = jax.vjp(f, a, w)
        return value, vjp(cotangent)

    def penalty(a, w):
        return sum(jnp.sum(gradient**2) for gradient in first(a, w)[1])

    return *first(a, w), jax.grad(penalty, (0, 1))(a, w)


def agree(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(abs(b).max()))


# These programs run for microseconds: compile them without optimization.
fast_compile = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


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

        wanted, forms = every(x, w, y)
        for computation, values in forms.items():
            for value in values:
                agree(value, wanted[computation], 1e-12)


def test_planes_are_patches_transposed():
    for shape in SHAPES.values():
        x, g = draw(shape, np.float32)[0], geometry(shape)
        np.testing.assert_array_equal(direct.planes(g, x), direct.patches(g, x).T)


def test_every_form_is_tested():
    tested = {
        form
        for shape in SHAPES.values()
        for name in ("convolve", "transpose", "correlate")
        for form in choice.costs(name, geometry(shape), shape[0], *shape[2], jnp.float64)
    }
    assert tested == {direct, PAIRS, FOURS, unit_stride, karatsuba, fourier}


def square(size, kernel, stride, padding):
    sides = ((padding, padding), (padding, padding))
    return Geometry((size, size), (kernel, kernel), (stride, stride), sides)


@pytest.mark.parametrize(
    ("name", "g", "batch", "cx", "cy", "form"),
    [
        # a quarter of the multiplications, but its kernel's spectrum has to serve many images
        ("convolve", square(9, 5, 1, 0), 64, 256, 512, fourier),
        ("convolve", square(9, 5, 1, 0), 1, 256, 512, direct),
        ("convolve", square(16, 4, 2, 1), 64, 128, 256, karatsuba),  # 9 / 16 of them
        ("convolve", square(64, 4, 2, 1), 64, 32, 64, unit_stride),  # too few channels for sums
        ("correlate", square(64, 4, 2, 1), 64, 32, 64, karatsuba),  # XLA has no kernel for it
        ("convolve", square(32, 3, 1, 1), 64, 3, 16, FOURS),  # short patches
        ("convolve", square(5, 5, 1, 0), 64, 512, 100, direct),  # one place: a single product
    ],
)
def test_the_choice_is_the_cheapest_form(name, g, batch, cx, cy, form, monkeypatch):
    monkeypatch.delenv("JAXGEN_ONEDNN", raising=False)
    assert choice.choose(name, g, batch, cx, cy) == form


@pytest.mark.parametrize(
    ("name", "g", "batch", "cx", "cy", "form"),
    [
        ("convolve", square(64, 4, 2, 1), 64, 32, 64, onednn),
        ("transpose", square(16, 3, 1, 1), 64, 16, 32, onednn),
        ("transpose", square(32, 3, 1, 1), 64, 3, 16, FOURS),  # 3 features in a register of 16
        ("convolve", square(5, 5, 1, 0), 64, 512, 100, direct),  # the kernel is what costs
        ("convolve", square(9, 5, 1, 0), 64, 256, 512, fourier),
        ("correlate", square(16, 4, 2, 1), 64, 128, 256, karatsuba),
        ("correlate", square(32, 3, 1, 1), 64, 3, 16, onednn),  # needs no neighbours
    ],
)
def test_the_choice_where_onednn_can_be_had(name, g, batch, cx, cy, form, monkeypatch):
    monkeypatch.setenv("JAXGEN_ONEDNN", "1")
    monkeypatch.setattr(onednn, "available", lambda: True)
    assert choice.choose(name, g, batch, cx, cy) == form
    assert choice.choose(name, g, batch, cx, cy, jnp.float64) != onednn


@pytest.fixture
def ask(monkeypatch):
    """Asks for oneDNN, and lets `available` find out anew, then and afterwards."""
    monkeypatch.setenv("JAXGEN_ONEDNN", "1")
    onednn.available.cache_clear()
    yield
    onednn.available.cache_clear()


needs_onednn = pytest.mark.skipif(
    jaxlib.version.__version__ not in onednn.TESTED or platform.machine() != "x86_64",
    reason="not a version or a machine that oneDNN is asked for on",
)
cannot_be_kept = pytest.mark.filterwarnings("ignore:Error writing persistent compilation cache")


@needs_onednn
@cannot_be_kept
@pytest.mark.usefixtures("ask")
@pytest.mark.parametrize("name", SHAPES)
def test_onednn_is_the_same_computation(name, monkeypatch):
    shape, g = SHAPES[name], geometry(SHAPES[name])
    x, w, y = draw(shape, np.float32)
    value, vjp = jax.vjp(lambda x, w: lax_conv(g, x, w), x, w)
    ours = jax.jit(
        lambda x, w, y: (
            onednn.convolve(g, x, w),
            onednn.transpose(g, y, w),
            onednn.correlate(g, x, y),
        )
    )
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4000)
    # float32: some hundred terms, added in another order
    agree(ours(x, w, y), (value, *vjp(y)), 2e-6)


THIN = square(16, 3, 1, 1)  # which oneDNN gets, 16 to 32 channels


@needs_onednn
@cannot_be_kept
@pytest.mark.usefixtures("ask")
def test_onednn_is_asked_for_within_traces_and_not_in_exported_programs():
    x, w = jnp.ones((4, 16, 16, 16)), jnp.ones((3, 3, 16, 32))

    def every(conv):
        return lambda x: jax.value_and_grad(lambda w: jnp.sum(conv(x, w) ** 2))(w)

    f = jax.jit(jax.vmap(every(lambda x, w: conv(x, w, 1, 1))))
    wanted = jax.vmap(every(lambda x, w: lax_conv(THIN, x[None], w)))(x)
    called = set(re.findall(r"__onednn\$\w+", f.lower(x).as_text()))
    assert called == {"__onednn$convolution", "__onednn$matmul"}
    agree(f(x), wanted, 1e-6)
    exported = jax.export.export(f)(x)
    assert "__onednn" not in exported.mlir_module()
    agree(jax.export.deserialize(exported.serialize()).call(x), wanted, 1e-6)


def missing():
    return onednn._primitive(
        "__nobody$convolution", onednn.convolution, onednn._describe_convolution
    )


@cannot_be_kept
@pytest.mark.usefixtures("ask")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TESTED", ("0.0.1",), "expected jaxlib in one of the versions 0.0.1, got"),
        pytest.param("_convolution", missing(), "__nobody", marks=needs_onednn),
        pytest.param("convolve", lambda g, x, w: x, "wrong", marks=needs_onednn),
        pytest.param("correlate", lambda g, x, y: x, "wrong", marks=needs_onednn),
    ],
)
def test_onednn_is_left_where_it_cannot_be_trusted(name, value, message, monkeypatch):
    monkeypatch.setattr(onednn, name, value)
    with pytest.warns(UserWarning, match=f"JAXGEN_ONEDNN=1 has no effect: .*{message}"):
        assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride
    assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride  # and says so once


def test_onednn_is_asked_for_by_0_or_1(monkeypatch):
    monkeypatch.setenv("JAXGEN_ONEDNN", "yes")
    with pytest.raises(UserError, match="expected JAXGEN_ONEDNN to be 0 or 1, got 'yes'"):
        conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA's choice on a CPU")
@pytest.mark.parametrize("name", ["convolve", "transpose"])
@pytest.mark.parametrize("g", [square(66, 2, 1, 0), square(64, 4, 2, 1), square(33, 3, 1, 1)])
def test_xla_computes_the_form_of_stride_1_by_its_fast_kernel(name, g):
    # Its other kernel is of a library whose calls are fusions; a row too few of padding gets it.
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
    x[:, :, 4:] = 0  # and so is what a kernel sees that starts there
    w = rng.standard_normal((*g.kernel, cx, cy)).astype(np.float32)
    convolve = jax.jit(conv)
    assert np.any(convolve(x, w)[:, :, 4:])
    with jax.default_matmul_precision(precision):
        assert not np.any(convolve(x, w)[:, :, 4:])
        for fast in (g, square(32, 4, 2, 1)):
            for name in ("convolve", "transpose", "correlate"):
                assert choice.choose(name, fast, 64, 256, 512) in choice.AS_DEFINED


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


def squared_length(x, w):
    return jnp.sum(conv_transpose(conv(x, w, 2, 1), w, 2, 1) ** 2)


def test_each_platform_compiles_its_own_form_alone():
    x, w = jnp.ones((4, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    traced = jax.jit(jax.vmap(jax.grad(squared_length, 1), (None, 0))).trace(x, w[None])
    cpu = traced.lower(lowering_platforms=("cpu",))
    # of XLA's convolutions none but those of stride 1, whose kernel is fast
    convolutions = [v for v in cpu.as_text().splitlines() if "stablehlo.convolution" in v]
    assert all("stride = [1, 1]" in v for v in convolutions)
    assert not any(re.search(r"_dilate = \[[^\]]*2", v) for v in convolutions)
    compiled = cpu.compile({"xla_llvm_disable_expensive_passes": True}).as_text()
    assert compiled is not None
    assert "conditional(" not in compiled
    # elsewhere vendors' three kernels and nothing else: forward, backward data with the images
    # dilated by the strides, backward filter with the other side dilated
    gpu = jax.jit(jax.grad(squared_length, 1)).trace(x, w).lower(lowering_platforms=("cuda",))
    convolutions = [v for v in gpu.as_text().splitlines() if "stablehlo.convolution" in v]
    dilations = {tuple(re.findall(r"[lr]hs_dilate = \[(\d)", v)) for v in convolutions}
    assert dilations == {("1", "1"), ("2", "1"), ("1", "2")}


def test_exports_for_any_batch_size():
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 8, 8, 3), jnp.float32)
    w = jnp.ones((4, 4, 5, 3))
    exported = jax.export.export(jax.jit(lambda x: conv_transpose(x, w, 2, 1)))(shape)
    x = jnp.ones((3, 8, 8, 3))
    agree(exported.call(x), conv_transpose(x, w, 2, 1), 1e-6)


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
    agree(conv(x, w, 1, (1, 0)), conv(x, w, 1, ((1, 1), (0, 0))), 1e-6)


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
