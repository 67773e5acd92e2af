"""Pictures of the latent space of a finished VAE: `explore(run)`, the last line of its experiment.

images/latent-kl.png              what each dimension carries, and which ones are active
images/latents.png                the latent means of the test images in two dimensions
images/latent-traversals.png      a row for each of the dimensions that carry most
images/latent-interpolations.png  from one test image to another, linear above spherical
"""

import jax.numpy as jnp
import numpy as np

from jaxgen.evaluation import latents
from jaxgen.models import losses
from jaxgen.runs import Run
from jaxgen.visualization import grids, plots

NUM_DIMENSIONS = 10
NUM_STEPS = 11
REACH = 3.0  # standard deviations of the prior
NUM_PAIRS = 4


def explore(run: Run) -> None:
    """Draws the latent space of a VAE that has been trained, and counts its active dimensions."""
    labels = run.labels(run.test.labels).get("labels")
    mean, log_var = latents.posterior(run.learner, run.state, run.test.images, labels)
    kl = np.asarray(losses.kl_of_dimensions(jnp.asarray(mean), jnp.asarray(log_var)).mean(axis=0))
    active = latents.active(mean)
    run.note(f"{active.sum()} of {len(active)} latent dimensions are active")

    order = np.argsort(-kl)
    plots.bars(
        run.path("images/latent-kl.png"),
        {"active": np.where(active, kl, 0)[order], "inactive": np.where(active, 0, kl)[order]},
        "latent dimension, in descending order",
        "KL, nats an image",
        f"{active.sum()} of {len(active)} dimensions are active",
    )
    plots.scatter(
        run.path("images/latents.png"),
        plots.principal_components(mean) if mean.shape[1] > 2 else mean,
        run.test.labels,
        "latent means of the test images",
    )
    grids.save(run.path("images/latent-traversals.png"), _traversals(run, mean, order))
    grids.save(run.path("images/latent-interpolations.png"), _interpolations(run, mean))


def _traversals(run: Run, mean: np.ndarray, order: np.ndarray) -> np.ndarray:
    """A row for each of the first dimensions of `order`, all from the first test image."""
    values = np.linspace(-REACH, REACH, NUM_STEPS)
    label = None
    if run.labels(run.test.labels) and run.test.labels is not None:
        label = int(run.test.labels[0])
    start = jnp.asarray(mean[0])
    rows = [
        latents.traversal(run.learner, run.state, start, int(dimension), values, label)
        for dimension in order[:NUM_DIMENSIONS]
    ]
    return grids.grid(jnp.concatenate(rows), columns=NUM_STEPS)


def _interpolations(run: Run, mean: np.ndarray) -> np.ndarray:
    """Pairs of rows, linear above spherical; the test images themselves stand at the ends."""
    firsts, seconds = _pairs(run)
    rows = []
    for first, second in zip(firsts, seconds, strict=True):
        for spherical in (False, True):
            ends = jnp.asarray(mean[first]), jnp.asarray(mean[second])
            path = latents.interpolation(*ends, NUM_STEPS, spherical)
            labels = np.full(NUM_STEPS, 0 if run.test.labels is None else run.test.labels[first])
            decoded = run.learner.require("decode")(run.state, path, **run.labels(labels))
            shown = [run.test.images[i][None] / np.float32(255) for i in (first, second)]
            rows += [shown[0], decoded, shown[1]]
    return grids.grid(jnp.concatenate(rows), columns=NUM_STEPS + 2)


def _pairs(run: Run) -> tuple[list[int], list[int]]:
    """Test images to walk between: of two classes, or of one where the label is given."""
    firsts = list(range(min(NUM_PAIRS, len(run.test.images))))
    labels = run.test.labels
    if labels is None:
        return firsts, [len(run.test.images) - 1 - i for i in firsts]
    same = bool(run.labels(labels))
    seconds = []
    for first in firsts:
        candidates = np.flatnonzero((labels == labels[first]) == same)
        candidates = candidates[candidates > first]
        seconds.append(int(candidates[first]) if len(candidates) > first else first)
    return firsts, seconds
