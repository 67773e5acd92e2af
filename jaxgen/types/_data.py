"""Data sets in memory."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
      images: [N, H, W, C], uint8 or float32 in [0, 1].
      labels: int32 [N], or None where the set has none.
    """

    images: np.ndarray
    labels: np.ndarray | None


class Dataset(NamedTuple):
    """Images in memory, by split, with a fingerprint of their content.

    Attributes:
      name: what `data.load` was asked for, with "auto" replaced by what it found.
      splits: split name -> Split; every set has "train" and "test".
      fingerprint: hexadecimal digest of every array; equal if and only if the data are equal.
    """

    name: str
    splits: Mapping[str, Split]
    fingerprint: str

    @property
    def train(self) -> Split:
        """The split to fit."""
        return self.splits["train"]

    @property
    def test(self) -> Split:
        """The held-out split."""
        return self.splits["test"]
