"""`from_arrays`: a data set made of arrays of the caller's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxgen._checks import check_labels, check_pixels
from jaxgen.data.holding_out import divided, number_held_out
from jaxgen.data.lazy import is_lazy
from jaxgen.data.storage.fingerprints import fingerprint
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

_CHANNELS = (1, 3, 4)


def from_arrays(
    train_images: Any,
    train_labels: Any = None,
    test_images: Any = None,
    test_labels: Any = None,
    *,
    name: str = "arrays",
) -> Dataset:
    """Makes a data set of arrays in memory.

    Without test images a tenth of the training images is held out. Which ones depends on their
    number alone, and both parts keep the order of the arrays.

    Args:
      train_images: [N, H, W] or [N, H, W, C], uint8, or floats in [0, 1]. Floats of other
        precisions become float32; values that miss [0, 1] by rounding are clipped.
      train_labels: integers [N] or [N, 1] that count the classes from 0, or None.
      test_images: the held-out images, of the same shape and type, or None.
      test_labels: their labels; given if and only if there are training labels and test images.
      name: what the data set is called in messages and records.

    Returns:
      A Dataset with the splits "train" and "test".

    Raises:
      UserError: values outside the range or NaN, shapes, lengths or types that do not fit; the
        message says what was expected and what to pass instead.
    """
    splits = make_splits(train_images, train_labels, test_images, test_labels)
    return Dataset(name, splits, fingerprint(splits))


def make_splits(
    train_images: Any, train_labels: Any = None, test_images: Any = None, test_labels: Any = None
) -> dict[str, Split]:
    """The splits of `from_arrays`, with the same arguments and errors."""
    train = _split(train_images, train_labels, "train")
    if test_images is None:
        if test_labels is not None:
            raise UserError("expected test_images beside test_labels, got None: pass both or none")
        splits = _hold_out(train)
    else:
        splits = {"train": train, "test": _split(test_images, test_labels, "test")}
        if (train_labels is None) != (test_labels is None):
            absent = "train_labels" if train_labels is None else "test_labels"
            raise UserError(
                f"expected labels of both splits or none, got no {absent}: pass {absent}"
            )
    _check_agreement(splits)
    return splits


def check(dataset: Dataset) -> None:
    """Raises UserError unless every split holds valid pixels, and labels where it has any.

    `load` and `from_arrays` have checked what they return. This is for a Dataset made otherwise,
    and fast: uint8 images hold no wrong values, so that only floats are read, and none of those
    that are streamed.
    """
    for name, (images, labels) in dataset.splits.items():
        if not is_lazy(images):
            check_pixels(images, f"{name}_images")
        if labels is not None:
            _check_labels(labels, len(images), name)
    _check_agreement(dataset.splits)


def _split(images: Any, labels: Any, split: str) -> Split:
    pixels = _images(_array(images, f"{split}_images"), f"{split}_images")
    if labels is None:
        return Split(pixels, None)
    numbers = _array(labels, f"{split}_labels")
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    _check_labels(numbers, len(pixels), split)
    return Split(pixels, numbers.astype(np.int32))


def check_split(images: np.ndarray, labels: np.ndarray | None, split: str) -> Split:
    """A split of mapped arrays, checked as `from_arrays` does and not copied.

    Raises:
      UserError: as `from_arrays`; or the images would have to be converted.
    """
    if images.dtype not in (np.uint8, np.float32):
        raise UserError(
            f"expected {split}_images of uint8 or float32 to stream, got {images.dtype}: convert "
            "them on disk"
        )
    checked = _split(images, labels, split)
    if not np.may_share_memory(checked.images, images):
        raise UserError(
            f"expected {split}_images in the order of C, of uint8 or of float32 in [0, 1], to "
            "stream them: convert them on disk by np.ascontiguousarray"
        )
    return checked


def _array(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors with gradients
        message = str(error).strip().split("\n")[0]
        raise UserError(
            f"expected {name} to be one array, got {type(values).__name__} that NumPy cannot "
            f"convert ({message}): pass np.stack of equally large arrays"
        ) from error
    if array.dtype.hasobject or array.dtype.names is not None:
        raise UserError(
            f"expected {name} to be an array of numbers, got one of type {array.dtype}: where "
            "images differ in size, resize them to one size and pass np.stack of them"
        )
    return array


def _images(images: np.ndarray, name: str) -> np.ndarray:
    """The checked images as uint8 or float32 [N, H, W, C], contiguous."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"expected {name} of shape [N, H, W] or [N, H, W, C], none of them 0, got "
            f"{list(images.shape)}: reshape them"
        )
    if images.shape[1] in _CHANNELS and images.shape[3] > max(_CHANNELS):
        raise UserError(
            f"expected {name} of shape [N, H, W, C], got {list(images.shape)}, which looks like "
            "[N, C, H, W]: pass images.transpose(0, 2, 3, 1)"
        )
    if images.dtype == np.bool_:
        raise UserError(
            f"expected {name} as uint8 or floats in [0, 1], got bool: pass "
            "images.astype(np.uint8) * 255"
        )
    if np.issubdtype(images.dtype, np.integer) and images.dtype != np.uint8:
        raise UserError(
            f"expected {name} as uint8 in 0..255 or floats in [0, 1], got {images.dtype} from "
            f"{images.min()} to {images.max()}: where they are within 0..255, pass "
            "images.astype(np.uint8)"
        )
    check_pixels(images, name)
    if images.dtype != np.uint8:
        images = images.astype(np.float32, copy=False)
        if images.min() < 0 or images.max() > 1:  # by rounding
            images = images.clip(0, 1)
    return np.ascontiguousarray(images)


def _check_labels(labels: np.ndarray, num_images: int, split: str) -> None:
    # How many classes there are is the learner's to check.
    num_classes = labels.shape[1] if labels.ndim == 2 else 2**31
    check_labels(labels, num_images, num_classes, f"{split}_labels", f"{split}_images")


def _hold_out(train: Split) -> dict[str, Split]:
    """Moves a tenth of the images to "test"; at least one."""
    kept, held_out = divided(train, number_held_out(len(train.images)))
    return {"train": kept, "test": held_out}


def _check_agreement(splits: Mapping[str, Split]) -> None:
    train = splits["train"].images
    for name, (images, _) in splits.items():
        if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
            raise UserError(
                f"expected {name}_images like train_images, {_kind(train)}, got {_kind(images)}: "
                "convert them to one shape and type"
            )


def _kind(images: np.ndarray) -> str:
    return f"{images.dtype} [N, {', '.join(map(str, images.shape[1:]))}]"
