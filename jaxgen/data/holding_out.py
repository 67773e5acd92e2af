"""Images held out of a split, by a choice that is the same everywhere."""

import numpy as np

from jaxgen.data.lazy import is_lazy
from jaxgen.data.streaming import in_memory
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

# One image in so many is held out where no test images are given.
_HELD_OUT = 10


def with_validation(dataset: Dataset, fraction: float) -> Dataset:
    """The data set with a share of its training images as the split "validation".

    Args:
      dataset: the data.
      fraction: of the training images, chosen as `divided` does; 0 to change nothing.

    Returns:
      A data set whose "train" has the other images, in their order.

    Raises:
      UserError: `fraction` is not between 0 and 1, leaves one of the two without images, or the
        set has a validation split of its own.
    """
    if not fraction:
        return dataset
    if not 0 < fraction < 1:
        raise UserError(
            f"expected --validation-fraction between 0 and 1, got {fraction}: 0.1 holds out a tenth"
        )
    if "validation" in dataset.splits:
        raise UserError(
            f"{dataset.name} has a validation split of its own: leave --validation-fraction out"
        )
    number = len(dataset.train.images)
    count = round(fraction * number)
    if not 0 < count < number:
        raise UserError(
            f"expected --validation-fraction to leave images on both sides, got {fraction} of "
            f"{number} images: choose another fraction"
        )
    kept, held_out = divided(dataset.train, count)
    if is_lazy(held_out.images):
        held_out = in_memory(dataset.name, "validation", held_out)
    return dataset._replace(splits={**dataset.splits, "train": kept, "validation": held_out})


def number_held_out(number: int) -> int:
    """How many of so many images become "test" where none are given: a tenth, at least one.

    Raises:
      UserError: there is only one image.
    """
    if number < 2:
        raise UserError(
            "expected at least two train_images, to hold one out, got 1: pass test_images"
        )
    return max(1, number // _HELD_OUT)


def divided(split: Split, count: int) -> tuple[Split, Split]:
    """A split without `count` of its images, and these: the same ones in every process.

    They are chosen at random under a fixed seed; both parts are in the order of the split.
    """
    number = len(split.images)
    # The raw numbers of a bit generator are the same in every version of NumPy.
    draws = np.random.PCG64(0).random_raw(number)
    chosen = np.zeros(number, bool)
    chosen[np.argsort(draws, kind="stable")[:count]] = True

    def part(rows: np.ndarray) -> Split:
        images, labels = split
        return Split(images[rows], None if labels is None else labels[rows])

    return part(~chosen), part(chosen)
