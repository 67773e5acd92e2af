"""The form that calls oneDNN: same results, and used only where it is known to work."""

import platform
import re

import jax
import jax.export
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest
from convolution_references import SHAPES, agree, draw, geometry, lax_conv, square

from jaxgen.convolutions import (
    choice,
    chunks,
    conv,
    direct,
    fourier,
    karatsuba,
    onednn,
    unit_stride,
)
from jaxgen.convolutions.column_blocks import BLOCKS_OF_4
from jaxgen.errors import UserError


@pytest.mark.parametrize(
    ("name", "g", "batch", "cx", "cy", "form"),
    [
        ("convolve", square(64, 4, 2, 1), 64, 32, 64, onednn),
        ("transpose", square(16, 3, 1, 1), 64, 16, 32, onednn),
        # 3 features would leave 13 of 16 lanes of a register unused
        ("transpose", square(32, 3, 1, 1), 64, 3, 16, BLOCKS_OF_4),
        ("convolve", square(5, 5, 1, 0), 64, 512, 100, direct),  # one output position
        ("convolve", square(9, 5, 1, 0), 64, 256, 512, fourier),
        ("correlate", square(16, 4, 2, 1), 64, 128, 256, karatsuba),
        ("correlate", square(32, 3, 1, 1), 64, 3, 16, onednn),
    ],
)
def test_choice_with_onednn_available(name, g, batch, cx, cy, form, monkeypatch):
    monkeypatch.delenv("JAXGEN_ONEDNN", raising=False)
    monkeypatch.setattr(onednn, "available", lambda: True)
    assert choice.choose(name, g, batch, cx, cy) == form
    assert choice.choose(name, g, batch, cx, cy, jnp.float64) != onednn


@pytest.fixture
def enable_onednn(monkeypatch):
    """Removes JAXGEN_ONEDNN=0, which tests have, and clears the cached result of `available`."""
    monkeypatch.delenv("JAXGEN_ONEDNN", raising=False)
    onednn.available.cache_clear()
    yield
    onednn.available.cache_clear()


needs_onednn = pytest.mark.skipif(
    jaxlib.version.__version__ != onednn.VERSION or platform.machine() != "x86_64",
    reason="needs the tested version of jaxlib on x86-64",
)
ignore_cache_warning = pytest.mark.filterwarnings("ignore:Error writing persistent compilation")


@needs_onednn
@ignore_cache_warning
@pytest.mark.usefixtures("enable_onednn")
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


THIN = square(16, 3, 1, 1)  # computed by oneDNN with 16 to 32 channels


@needs_onednn
@ignore_cache_warning
@pytest.mark.usefixtures("enable_onednn")
def test_onednn_is_used_within_traces_but_not_in_exported_programs():
    x, w = jnp.ones((4, 16, 16, 16)), jnp.ones((3, 3, 16, 32))

    def every(conv):
        return lambda x: jax.value_and_grad(lambda w: jnp.sum(conv(x, w) ** 2))(w)

    f = jax.jit(jax.vmap(every(lambda x, w: conv(x, w, 1, 1))))
    expected = jax.vmap(every(lambda x, w: lax_conv(THIN, x[None], w)))(x)
    called = set(re.findall(r"__onednn\$\w+", f.lower(x).as_text()))
    assert called == {"__onednn$convolution", "__onednn$matmul"}
    agree(f(x), expected, 1e-6)
    exported = jax.export.export(f)(x)
    assert "__onednn" not in exported.mlir_module()
    agree(jax.export.deserialize(exported.serialize()).call(x), expected, 1e-6)


def missing():
    return onednn._primitive(
        "__missing$convolution", onednn.convolution, onednn._describe_convolution
    )


@needs_onednn
@ignore_cache_warning
@pytest.mark.usefixtures("enable_onednn")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("_convolution", missing(), "__missing"),
        ("convolve", lambda g, x, w: x, "wrong"),
        ("correlate", lambda g, x, y: x, "wrong"),
    ],
)
def test_onednn_is_not_used_if_a_first_convolution_fails(name, value, message, monkeypatch):
    monkeypatch.setattr(onednn, name, value)
    with pytest.warns(UserWarning, match=f"computed without oneDNN: .*{message}"):
        assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride
    assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride  # without a second warning


@pytest.mark.usefixtures("enable_onednn")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jaxlib.version.__version__", "0.0.1"),
        ("sys.platform", "darwin"),
        ("platform.machine", lambda: "aarch64"),
        ("jax.device_count", lambda: 2),
    ],
)
def test_onednn_is_not_used_elsewhere(name, value, monkeypatch):
    monkeypatch.setattr(name, value)
    assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride


@pytest.mark.usefixtures("enable_onednn")
def test_zero_turns_it_off(monkeypatch):
    monkeypatch.setenv("JAXGEN_ONEDNN", "0")
    assert choice.choose("convolve", THIN, 64, 16, 32) is unit_stride


def test_the_variable_must_be_0_or_1(monkeypatch):
    monkeypatch.setenv("JAXGEN_ONEDNN", "yes")
    with pytest.raises(UserError, match="expected JAXGEN_ONEDNN to be 0 or 1, got 'yes'"):
        conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)))
