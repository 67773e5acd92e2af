"""The benchmark of convolutions: other libraries' layers compute what jaxgen's do; its table."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from convolution_references import agree, fast_compile

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import convolutions
from benchmarks.layers import ROWS, Row, jax_layer
from benchmarks.other_layers import equinox_layer, flax_layer

SMALL = [Row(True, 5, 3, 4, 4, 2, 1), Row(True, 4, 3, 2, 5, 1, 0), Row(False, 8, 3, 4, 4, 2, 1)]


def draw(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_flax_computes_the_same(row):
    layer, *shapes = flax_layer(row)
    arguments = draw(*shapes)
    # float32: some dozen terms, added in another order
    agree(fast_compile(layer)(*arguments), fast_compile(jax_layer(row))(*arguments), 1e-6)


@pytest.mark.skipif(not importlib.util.find_spec("equinox"), reason="equinox is not installed")
@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_equinox_computes_the_same(row):
    layer, *shapes = equinox_layer(row)
    images, kernel = draw(*shapes)
    # [out, in, kh, kw]; jaxgen's transposed kernels are not flipped
    ours = jnp.transpose(kernel, (2, 3, 0, 1) if row.transposed else (2, 3, 1, 0))
    ours = ours[::-1, ::-1] if row.transposed else ours
    value = fast_compile(jax_layer(row))(images.transpose(0, 2, 3, 1), ours)
    agree(fast_compile(layer)(images, kernel).transpose(0, 2, 3, 1), value, 1e-6)


def test_the_table_shows_other_layers_where_they_were_measured():
    times: dict[str, Any] = {"torch_all": [2.0], "torch_forward": [1.0]}
    times |= {"jax_all": [1.0], "jax_forward": [0.5], "jax_loop": [0.5]}
    rows = {row.name: dict(times) for row in ROWS}
    rows[ROWS[3].name] |= {"flax_all": 12345.6, "equinox_all": "over 60000"}
    lines = convolutions.table({"rows": rows}).splitlines()
    assert lines[5].endswith("| **4.00** (4.00 to 4.00) | 12,346 | over 60000 |")
    assert lines[2].endswith("| **4.00** (4.00 to 4.00) |  |  |")
