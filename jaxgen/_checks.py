"""Checks of numbers, choices, images and labels: each passes silently or raises a UserError.

A number may also be traced, as a learning rate is under `jax.vmap`. Its value is then unknown and
is not checked.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import numpy as np

from jaxgen.errors import UserError

TOLERANCE = 1e-3  # by which resized pixels may leave [0, 1]


def is_traced(value: Any) -> bool:
    """Whether a value is unknown until the program runs."""
    return isinstance(value, jax.core.Tracer)


def at_least(name: str, value: Any, least: float) -> None:
    """Raises UserError unless `value` is traced, or a finite number that is at least `least`."""
    if not is_traced(value) and not (_is_finite(value) and value >= least):
        raise UserError(f"expected {name} to be a number of at least {least}, got {value}")


def positive(name: str, value: Any) -> None:
    """Raises UserError unless `value` is traced, or a finite number above 0."""
    if not is_traced(value) and not (_is_finite(value) and value > 0):
        raise UserError(f"expected {name} to be a number above 0, got {value}")


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raises UserError unless `value` is one of the choices."""
    if value not in choices:
        listed = ", ".join(map(str, choices[:-1]))
        raise UserError(
            f"expected {name} to be {listed} or {choices[-1]}, got {value!r}: pick one of them"
        )


def whole_number(name: str, value: Any, least: int = 1, most: float = math.inf) -> int:
    """`value` as an int, where it is one: 64, 64.0, np.int64(64) and np.array(64) are.

    Raises:
      UserError: if it is not a whole number, or not from `least` to `most`.
    """
    number = _as_whole(value)
    if number is None or not least <= number <= most:
        bounds = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise UserError(f"expected {name} to be a whole number {bounds}, got {value}")
    return number


def whole_numbers(name: str, values: Any, count: int | None = None) -> tuple[int, ...]:
    """`values` as a tuple of ints of at least 1, where they are that; `count` of them if given.

    Raises:
      UserError: otherwise.
    """
    listed = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str | bytes)
    numbers = [_as_whole(value) for value in values] if listed else [None]
    if count not in (None, len(numbers)) or any(n is None or n < 1 for n in numbers):
        expected = "whole numbers of at least 1" if count is None else f"{count} whole numbers"
        example = (400, 200, 100)[: 2 if count is None else count]
        raise UserError(
            f"expected {name} to be {expected}, got {values!r}: pass a sequence such as {example}"
        )
    return tuple(number for number in numbers if number is not None)


def check_images(images: Any, image_shape: tuple[int, ...], name: str = "images") -> None:
    """Raises UserError unless images are [N, *image_shape], uint8 or float.

    The values of floats are checked where they are on the host, see `check_pixels`. Those of an
    array on a device are not: reading them would wait for the device.
    """
    if not isinstance(images, jax.Array | np.ndarray):
        raise UserError(
            f"expected {name} to be an array, got {type(images).__name__}: convert them by "
            "np.asarray"
        )
    if images.ndim != 4 or images.shape[1:] != tuple(image_shape):
        expected = ", ".join(map(str, image_shape))
        raise UserError(
            f"expected {name} of shape [N, {expected}], got {list(images.shape)}: "
            "reshape them, or build the system with another image_shape"
        )
    if isinstance(images, np.ndarray):
        check_pixels(images, name)
    else:
        _check_dtype(images.dtype, name)


def check_pixels(images: np.ndarray, name: str = "images") -> None:
    """Raises UserError unless pixels are uint8, or floats in [0, 1]; the message guesses the cause.

    Args:
      images: on the host, of any shape.
      name: what the message calls them.
    """
    _check_dtype(images.dtype, name)
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = float(np.min(images)), float(np.max(images))
    if math.isnan(low) or math.isnan(high):
        raise UserError(f"expected {name} without NaN, found some: remove or replace them")
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise UserError(
            f"expected {name} as uint8 in 0..255 or floats in [0, 1], got floats from {low:.4g} to "
            f"{high:.4g}: {_remedy(low, high)}"
        )


def check_labels(
    labels: Any, num_images: Any, num_classes: int, name: str = "labels", of: str = "images"
) -> None:
    """Raises UserError unless labels are integers [num_images] in 0..num_classes − 1.

    The range is checked where they are on the host.
    """
    integers = "integers [N], one for each of them"
    if not isinstance(labels, jax.Array | np.ndarray):
        raise UserError(
            f"expected {name} to be an array of {integers}, got {type(labels).__name__}: convert "
            "them by np.asarray"
        )
    if labels.ndim == 2 and labels.shape[1] == num_classes:
        raise UserError(
            f"expected {name} to be {integers}, got an array of shape {list(labels.shape)} that "
            f"looks one-hot: pass {name}.argmax(axis=1)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"expected {name} to be {integers}, got {labels.dtype}: pass {name}.astype(np.int32)"
        )
    if labels.shape != (num_images,):
        raise UserError(
            f"expected {name} of shape [{num_images}], one for each of the {of}, got "
            f"{list(labels.shape)}: pass as many"
        )
    if isinstance(labels, np.ndarray) and labels.size:
        low, high = int(labels.min()), int(labels.max())
        if low < 0:
            raise UserError(
                f"expected {name} in 0..{num_classes - 1}, got {low}: renumber them from 0"
            )
        if high >= num_classes:
            raise UserError(
                f"expected {name} in 0..{num_classes - 1}, got {high}: renumber them, or build the "
                f"system with num_classes={high + 1} (--num-classes {high + 1})"
            )


def _as_whole(value: Any) -> int | None:
    """The int that a number of any type is equal to, or None; True and "1" are no numbers."""
    try:
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, bool | str) or not float(value).is_integer():
            return None
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _check_dtype(dtype: np.dtype, name: str) -> None:
    if dtype != np.uint8 and not jax.numpy.issubdtype(dtype, np.floating):
        raise UserError(
            f"expected {name} as uint8 in 0..255 or floats in [0, 1], got {dtype}: convert them "
            "first"
        )


def _remedy(low: float, high: float) -> str:
    if low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
        return "they look scaled to [-1, 1], pass (x + 1) / 2"
    if low >= -TOLERANCE and high <= 255 + TOLERANCE:
        return "they look like 0 to 255, divide them by 255"
    return "they look normalized, multiply by the standard deviation and add the mean"
