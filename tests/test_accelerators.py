"""Programs for accelerators, lowered on a CPU.

XLA recognizes a kernel gradient as cuDNN's backward filter if it is a convolution that sums over
the batch, with the other factor dilated by the strides and the images not dilated. With dilated
images it can be 32 times slower (jax #31662).
"""

import inspect
import re
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import pytest

from jaxgen import systems
from jaxgen.convolutions import conv, conv_transpose

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.layers import BATCH, ROWS

PLATFORMS = ("cuda", "tpu")
CONVOLUTIONAL = ("dcgan_flowers", "dcgan_mnist", "vae_animals", "vae_flowers")


def dilations(program: str) -> list[tuple[str, str, str]]:
    """The result of each convolution and its dilations, such as ("kernel", "1, 1", "2, 2")."""
    found = []
    for line in program.splitlines():
        if "stablehlo.convolution" in line:
            (images, result) = re.findall(r"dim_numbers = \[(.), .*->\[(.), ", line)[0]
            kind = {"b": "images", "0": "kernel"}[result]
            assert (images == "f") == (kind == "kernel")  # a sum over the batch
            sides = (re.findall(rf"{side}_dilate = \[(.*?)\]", line) for side in ("lhs", "rhs"))
            found.append((kind, *(side[0] if side else "1, 1" for side in sides)))
    return found


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_kernel_gradients_are_plain_backward_filters(row, platform):
    layer = conv_transpose if row.transposed else conv

    def loss(images, kernel):
        return jnp.sum(layer(images, kernel, row.stride, row.padding) ** 2)

    ends = (row.features, row.channels) if row.transposed else (row.channels, row.features)
    shapes = (BATCH, row.size, row.size, row.channels), (row.kernel, row.kernel, *ends)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    exported = jax.export.export(jax.jit(jax.grad(loss, (0, 1))), platforms=[platform])(*arguments)
    # value and image gradient are one of each: a convolution and a transposed one
    strides = f"{row.stride}, {row.stride}"
    expected = [
        ("images", "1, 1", "1, 1"),
        ("images", strides, "1, 1"),
        ("kernel", "1, 1", strides),
    ]
    assert sorted(dilations(exported.mlir_module())) == sorted(expected)


@pytest.mark.parametrize("name", systems.__all__)
def test_an_epoch_lowers_for_accelerators(name):
    system = getattr(systems, name)
    known = {option: p.default for option, p in inspect.signature(system).parameters.items()}
    shape = known.get("image_shape") or (*[known["resolution"]] * 2, known["image_channels"])
    labels = jax.ShapeDtypeStruct((1000,), jnp.int32)
    labels = {"labels": labels} if "num_classes" in known else {}
    images = jax.ShapeDtypeStruct((1000, *shape), jnp.uint8)
    learner, key = system(), jax.eval_shape(lambda: jax.random.key(0))
    epoch = jax.jit(lambda *a, **labels: learner.epoch(*a, **labels))
    state = jax.eval_shape(learner.init, key)
    exported = jax.export.export(epoch, platforms=PLATFORMS)(state, images, key, **labels)
    found = dilations(exported.mlir_module())
    kernels = [images_dilation for kind, images_dilation, _ in found if kind == "kernel"]
    assert set(kernels) <= {"1, 1"}
    assert bool(kernels) == (name in CONVOLUTIONAL)
