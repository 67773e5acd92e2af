"""Preparation before the measurements: images, initial weights, reference losses."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.racing import jaxgen_sides
from benchmarks.racing.agreement import CHECK_STEPS
from benchmarks.racing.course import Course, load, save_images
from jaxgen import interop


def prepare(
    course: Course, folder: Path, data_dir: str | None, animals: str | None
) -> dict[str, Any]:
    """Writes images and initial weights; returns the losses that PyTorch must agree with."""
    name, dataset = load(course, data_dir, animals)
    save_images(folder, dataset.train.images, dataset.test.images)
    learner = jaxgen_sides.learner_of(course)
    state = learner.init(jax.random.key(0))
    save_weights(course, state, dataset.train.images.shape[-1], folder)
    images = dataset.test.images[: course.images_per_step]
    return {
        "dataset": name,
        "fingerprint": dataset.fingerprint,
        "num_images": len(dataset.train.images),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "losses": jaxgen_sides.losses(course, images, CHECK_STEPS),
    }


def save_weights(course: Course, state: Any, image_channels: int, folder: Path) -> None:
    """Leaves a state's weights under PyTorch's keys: PART/KEY, or KEY alone."""
    dicts = interop.to_torch(course.name, state, image_channels=image_channels)
    arrays = {}
    for name, value in dicts.items():
        if isinstance(value, dict):
            arrays |= {f"{name}/{key}": array for key, array in value.items()}
        else:
            arrays[name] = value
    np.savez(folder / "weights.npz", **arrays)
