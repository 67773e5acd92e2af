"""Images of noise from a fixed seed: what pixels show does not change how long a step takes."""

import inspect
from typing import Any

import numpy as np

SEED = 0
DATA = "uint8 noise, numpy.random.default_rng(0)"


def noise(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [number, H, W, C]."""
    return np.random.default_rng(SEED).integers(0, 256, (number, *shape), dtype=np.uint8)


def shape_of(system: Any) -> tuple[int, int, int]:
    """Height, width and channels of a system's images by default."""
    known = {name: p.default for name, p in inspect.signature(system).parameters.items()}
    if "image_shape" in known:
        return known["image_shape"]
    return known["resolution"], known["resolution"], known["image_channels"]


def labels_of(system: Any, number: int) -> dict[str, np.ndarray]:
    """The keyword argument of a conditional system; none for others."""
    if "num_classes" not in inspect.signature(system).parameters:
        return {}
    return {"labels": np.arange(number, dtype=np.int32) % 10}
