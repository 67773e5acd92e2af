"""A validation split held out of the training images."""

import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

SEED = 0  # the same images are held out in every run, so that runs can be compared


def with_validation(dataset: Dataset, fraction: float) -> Dataset:
    """The data set with a share of its training images as the split "validation".

    Args:
      dataset: the data.
      fraction: of the training images, chosen at random under a fixed seed; 0 to change nothing.

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
    held_out = np.zeros(number, bool)
    held_out[np.random.default_rng(SEED).permutation(number)[:count]] = True
    images, labels = dataset.train

    def part(rows: np.ndarray) -> Split:
        return Split(images[rows], None if labels is None else labels[rows])

    splits = {**dataset.splits, "train": part(~held_out), "validation": part(held_out)}
    return dataset._replace(splits=splits)
