"""What a model sees: scaling, checks, thresholds and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models.pixels import binarize, check_binarization, unit_interval


def test_uint8_is_divided_by_255():
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    scaled = unit_interval(images, (16, 16, 1))
    assert scaled.dtype == jnp.float32
    # One rounding of the quotient; XLA may multiply by the reciprocal, which makes it two.
    np.testing.assert_allclose(np.ravel(scaled), np.arange(256) / 255, rtol=1.2e-7)
    assert (scaled[0, 0, 0, 0], scaled[0, -1, -1, 0]) == (0, 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_are_taken_as_they_are(dtype):
    images = jnp.linspace(0, 1, 12, dtype=dtype).reshape(1, 2, 2, 3)
    same = unit_interval(images, (2, 2, 3))
    assert same.dtype == images.dtype
    np.testing.assert_array_equal(same, images)


@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (3, 784), (3, 1, 28, 28), (3, 28, 28, 3)])
def test_another_shape_is_a_user_error(shape):
    with pytest.raises(UserError) as error:
        unit_interval(jnp.zeros(shape, jnp.uint8), (28, 28, 1))
    message = str(error.value)
    assert "[N, 28, 28, 1]" in message
    assert str(list(shape)) in message
    assert "\n" not in message


@pytest.mark.parametrize("dtype", ["int32", "int8", "bool"])
def test_another_dtype_is_a_user_error(dtype):
    with pytest.raises(UserError, match=f"uint8 in 0..255 or floats.*{dtype}") as error:
        unit_interval(jnp.zeros((1, 2, 2, 1), dtype), (2, 2, 1))
    assert "\n" not in str(error.value)


def test_none_leaves_images_grey():
    images = jnp.linspace(0, 1, 12).reshape(1, 2, 6, 1)
    np.testing.assert_array_equal(binarize(images, "none", jax.random.key(0)), images)


def test_threshold_of_uint8_lies_between_127_and_128():
    images = jnp.asarray([0, 127, 128, 255], jnp.uint8).reshape(1, 2, 2, 1)
    binary = binarize(unit_interval(images, (2, 2, 1)), "threshold")
    np.testing.assert_array_equal(np.ravel(binary), [0, 0, 1, 1])
    assert binary.dtype == jnp.float32


def test_threshold_of_floats_is_one_at_exactly_a_half():
    half = np.float32(0.5)
    below, above = np.nextafter(half, np.float32(0)), np.nextafter(half, np.float32(1))
    images = jnp.asarray([below, half, above, 1.0]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(np.ravel(binarize(images, "threshold")), [0, 1, 1, 1])


def test_dynamic_draws_have_the_grey_value_as_their_mean():
    grey = np.array([0, 0.01, 0.25, 0.5, 0.75, 0.99, 1], np.float32)
    draws = 20_000
    images = jnp.tile(grey.reshape(1, 1, 7, 1), (draws, 1, 1, 1))
    binary = binarize(images, "dynamic", jax.random.key(0))
    assert binary.dtype == jnp.float32
    assert set(np.unique(binary)) == {0, 1}
    mean = np.mean(binary, axis=(0, 1, 3))
    assert (mean[0], mean[-1]) == (0, 1)  # black and white are certain
    standard_error = np.sqrt(grey * (1 - grey) / draws)[1:-1]
    assert np.abs((mean - grey)[1:-1] / standard_error).max() < 4


def test_dynamic_draws_are_a_function_of_the_key():
    images = jnp.full((3, 8, 8, 1), 0.5)
    draw, again, other = (binarize(images, "dynamic", jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(draw, again)
    assert np.mean(draw != other) > 0.3  # 0.5 is expected of independent draws
    assert np.mean(draw[0] != draw[1]) > 0.3


def test_dynamic_without_a_key_is_the_mean_of_its_draws():
    images = jnp.linspace(0, 1, 12).reshape(1, 2, 6, 1)
    np.testing.assert_array_equal(binarize(images, "dynamic"), images)


def test_unknown_binarization_is_a_user_error():
    for known in ("none", "threshold", "dynamic"):
        check_binarization(known)
    with pytest.raises(UserError, match=r"none, threshold or dynamic, got 'Dynamic'"):
        check_binarization("Dynamic")
