"""Part 6: log-likelihoods of a test set by importance sampling, 10,000 images x 5,000 samples."""

import time
from typing import Any

from benchmarks.accelerating.images import noise
from benchmarks.accelerating.task import Task

SYSTEM = "vae_binarized_mnist"
IMAGES, SAMPLES = 10_000, 5_000
SMALL = (60, 40)
# Images and samples decoded at once, beside the library's own choice: (None, None).
SIZES = ((None, None), (500, 500))


def measure(task: Task) -> None:
    """A row for each size of chunks, with the library's own first."""
    import jax

    jax.config.update("jax_default_matmul_precision", task.target.matmul_precision())
    for sizes in SIZES:
        images, samples = sizes
        name = "own choice" if images is None else f"{images} images x {samples} samples at once"
        task.attempt(name, lambda sizes=sizes: row(task, *sizes))


def row(task: Task, images_at_once: int | None, samples_at_once: int | None) -> dict[str, Any]:
    """Seconds of the whole set, or of as much of it as there was time for."""
    import jax
    import numpy as np

    from jaxgen import systems
    from jaxgen.evaluation.likelihood import importance_chunks

    number, samples = SMALL if task.target.small else (IMAGES, SAMPLES)
    learner = getattr(systems, SYSTEM)()
    state = learner.init(jax.random.key(0))
    images = noise(number, learner.image_shape)

    def chunks(images: np.ndarray) -> Any:
        return importance_chunks(
            learner,
            state,
            images,
            jax.random.key(1),
            samples,
            images_at_once=images_at_once,
            samples_at_once=samples_at_once,
        )

    start = time.perf_counter()
    next(chunks(images))
    first = time.perf_counter() - start
    start, done, total = time.perf_counter(), 0, 0.0
    for estimate in chunks(images):
        done += len(estimate.log_likelihood)
        total += float(estimate.log_likelihood.sum())
        if task.left < 3:
            break
    seconds = time.perf_counter() - start
    return {
        "system": SYSTEM,
        "images": done,
        "of": number,
        "samples": samples,
        "seconds": seconds,
        "seconds_of_all": seconds * number / done,
        "first_chunk_seconds": first,
        "mean": total / done,
    }
