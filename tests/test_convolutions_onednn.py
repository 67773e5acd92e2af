"""The form that calls oneDNN: the same computation, and only where it can be trusted."""

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
from jaxgen.convolutions.neighbours import FOURS
from jaxgen.errors import UserError


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
