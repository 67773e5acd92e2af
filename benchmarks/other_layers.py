"""flax's and equinox's own layers for the rows of `layers.py`: value and both gradients.

They take up to minutes for a call, so they are measured less often than PyTorch and jaxgen.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.layers import BATCH, Row, with_gradients

LIBRARIES = ("flax", "equinox")
REPEATED_BELOW = 1.0  # seconds: longer calls are measured once
Layer = Callable[[Any, Any], Any]


def flax_layer(row: Row) -> tuple[Layer, tuple[int, ...], tuple[int, ...]]:
    """(images, kernel) -> output, and the shapes of both arguments."""
    import flax.linen as nn

    size, strides, edge = (row.kernel, row.kernel), (row.stride, row.stride), row.padding
    if row.transposed:
        edge = row.kernel - 1 - edge
        layer: nn.Module = nn.ConvTranspose(
            row.features,
            size,
            strides,
            ((edge, edge), (edge, edge)),
            use_bias=False,
            transpose_kernel=True,
        )
        ends = (row.features, row.channels)
    else:
        layer = nn.Conv(row.features, size, strides, edge, use_bias=False)
        ends = (row.channels, row.features)
    images = (BATCH, row.size, row.size, row.channels)

    def apply(images, kernel):
        return layer.apply({"params": {"kernel": kernel}}, images)

    return apply, images, (*size, *ends)


def equinox_layer(row: Row) -> tuple[Layer, tuple[int, ...], tuple[int, ...]]:
    """The same with images [batch, channels, height, width]."""
    import equinox
    import jax

    kind = equinox.nn.ConvTranspose2d if row.transposed else equinox.nn.Conv2d
    module = kind(
        row.channels,
        row.features,
        row.kernel,
        row.stride,
        padding=row.padding,
        use_bias=False,
        key=jax.random.key(0),
    )

    def apply(images, kernel):
        layer = equinox.tree_at(lambda module: module.weight, module, kernel)
        return jax.vmap(layer)(images)

    images = (BATCH, row.channels, row.size, row.size)
    return apply, images, module.weight.shape


def serve_milliseconds(library: str, row: Row, repeats: int) -> None:
    """Prints one line when the program is compiled, then the median of its calls as another."""
    import jax

    layer, *shapes = {"flax": flax_layer, "equinox": equinox_layer}[library](row)
    keys = jax.random.split(jax.random.key(0), 3)
    images, kernel = (
        jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)
    )
    cotangent = jax.random.normal(keys[2], jax.eval_shape(layer, images, kernel).shape)
    arguments = jax.block_until_ready((images, kernel, cotangent))
    everything = jax.jit(with_gradients(layer)).lower(*arguments).compile()
    print(json.dumps("compiled"), flush=True)
    times: list[float] = []
    while not times or (times[-1] < REPEATED_BELOW and len(times) <= repeats):
        start = time.perf_counter()
        jax.block_until_ready(everything(*arguments))
        times.append(time.perf_counter() - start)
    # The first call finds cold caches; where it is the only one, that hardly counts.
    print(json.dumps(1e3 * statistics.median(times[1:] or times)), flush=True)
