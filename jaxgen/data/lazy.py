"""Images on disk in the place of an array: each is read when it is asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgen.data.parallel import map_pictures


class LazyImages:
    """What stands for an array [N, H, W, C] of a split that is streamed.

    `images[3]` reads one image. `images[:10]`, `images[indices]` and `images[mask]` select and read
    nothing. `np.asarray(images)` reads all that are selected into memory.

    Args:
      read: index -> image [H, W, C]; may be called by several threads at a time.
      shape: [N, H, W, C].
      dtype: uint8 or float32.
      rows: [N], the indices that `read` is given; None for 0, 1, ...

    Attributes:
      shape: of the array.
      dtype: of the array.
    """

    ndim = 4

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        shape: tuple[int, ...],
        dtype: Any = np.uint8,
        rows: np.ndarray | None = None,
    ):
        self._read = read
        self._rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *shape[1:])
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: Any) -> Any:
        """One image of an integer; the selected images, still to be read, of all else."""
        rows = self._rows[which]
        if np.ndim(rows) == 0:
            return self._read(int(rows))
        return LazyImages(self._read, self.shape, self.dtype, rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        images = np.empty(self.shape, self.dtype)

        def read(place: int) -> None:
            images[place] = self._read(int(self._rows[place]))

        map_pictures(read, range(len(self)), "reading images")
        return images if dtype is None else images.astype(dtype, copy=False)


def is_lazy(images: Any) -> bool:
    """Whether the images of a split are read while they are used."""
    return isinstance(images, LazyImages)
