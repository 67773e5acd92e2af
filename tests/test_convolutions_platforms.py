"""The operations that are compiled for each platform."""

import re

import jax
import jax.export
import jax.numpy as jnp
from convolution_references import agree

from jaxgen.convolutions import conv, conv_transpose


def squared_length(x, w):
    return jnp.sum(conv_transpose(conv(x, w, 2, 1), w, 2, 1) ** 2)


def test_each_platform_compiles_its_own_form_alone():
    x, w = jnp.ones((4, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    traced = jax.jit(jax.vmap(jax.grad(squared_length, 1), (None, 0))).trace(x, w[None])
    cpu = traced.lower(lowering_platforms=("cpu",))
    # XLA's convolution only with stride 1, for which its kernel is fast
    convolutions = [v for v in cpu.as_text().splitlines() if "stablehlo.convolution" in v]
    assert all("stride = [1, 1]" in v for v in convolutions)
    assert not any(re.search(r"_dilate = \[[^\]]*2", v) for v in convolutions)
    compiled = cpu.compile({"xla_llvm_disable_expensive_passes": True}).as_text()
    assert compiled is not None
    assert "conditional(" not in compiled
    # on accelerators: forward, backward data with the images dilated by the strides, and backward
    # filter with the other factor dilated
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
