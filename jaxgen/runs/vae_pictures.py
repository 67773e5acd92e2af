"""The pictures of a VAE's run: samples, reconstructions, curves, and a look at the latent space.

images/samples-EPOCH.png          draws from the prior; for a conditional system a row per class
images/reconstructions-EPOCH.png  test images above their reconstructions
images/samples-animation.gif      the samples over the epochs, and the same as .webp
images/loss.png ...               each metric of train and test over the epochs
images/latent-kl.png              what each dimension carries, and which ones are active
images/latents.png                the latent means of the test images in two dimensions
images/latent-traversals.png      a row for each of the dimensions that carry most
images/latent-interpolations.png  from one test image to another, linear above spherical
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.evaluation import latents
from jaxgen.models import losses
from jaxgen.runs.loop import Run
from jaxgen.runs.training import Watch
from jaxgen.types import PyTree
from jaxgen.visualization import grids, plots
from jaxgen.visualization.report import spread

SMALL = 32  # pixels a side up to which many images fit into one picture
NUM_SAMPLES, NUM_ORIGINALS = 128, 32  # of small images
NUM_LARGE_SAMPLES, NUM_LARGE_ORIGINALS = 16, 8
COLUMNS = 16
NUM_PER_CLASS, MAX_CLASSES = 10, 20
METRICS = ("loss", "elbo", "reconstruction", "kl")
NUM_DIMENSIONS = 10
NUM_STEPS = 11
REACH = 3.0  # standard deviations of the prior
NUM_PAIRS = 4
MAX_FRAMES = 40  # of the animation


class VAEPictures:
    """Draws the run of a learner that encodes and reconstructs images.

    Args:
      run: the run.
      originals: what to reconstruct each epoch; by default the first test images.
      shown: what stands above the reconstructions, where it is not `originals`.
    """

    every: int | None = None
    watch: Watch | None = None

    def __init__(
        self, run: Run, originals: ArrayLike | None = None, shown: ArrayLike | None = None
    ):
        self._run = run
        small = max(run.image_shape[:2]) <= SMALL
        self._num_samples = NUM_SAMPLES if small else NUM_LARGE_SAMPLES
        if originals is None:
            originals = run.test.images[: NUM_ORIGINALS if small else NUM_LARGE_ORIGINALS]
        self._originals = jnp.asarray(originals)
        self._shown = self._originals if shown is None else shown

    def draw_epoch(self, state: PyTree) -> None:
        """Draws samples and reconstructions."""
        run = self._run
        if not run.draws:
            return
        if run.learner.num_classes:
            run.draw("samples", _a_row_per_class(run, state))
        else:
            samples = run.learner.require("sample")(state, self._num_samples, run.key("samples"))
            columns = COLUMNS if self._num_samples >= 2 * COLUMNS else None
            run.draw("samples", grids.grid(samples, columns))
        labels = run.labels(run.test.labels, len(self._originals))
        reconstructions = run.learner.require("reconstruct")(state, self._originals, **labels)
        run.draw("reconstructions", grids.pairs(self._shown, reconstructions))

    def draw_run(self) -> None:
        """Draws the metrics and samples over the epochs, and the latent space."""
        run = self._run
        if not run.draws:
            return
        _animate(run)
        for metric in METRICS:
            if f"test/{metric}" in run.history[-1]:
                run.curves(metric, f"{metric}, nats per image")
        if "test/kl" in run.history[-1]:  # a plain autoencoder has no posterior to look at
            _explore(run)


def _a_row_per_class(run: Run, state: PyTree) -> np.ndarray:
    """The same latents in every row: a column shows one style in all the classes."""
    latent_size = run.learner.latent_size
    num_classes = min(run.learner.num_classes, MAX_CLASSES)
    styles = jax.random.normal(run.key("samples"), (NUM_PER_CLASS, latent_size))
    classes = jnp.repeat(jnp.arange(num_classes), NUM_PER_CLASS)
    samples = run.learner.require("decode")(
        state, jnp.tile(styles, (num_classes, 1)), labels=classes
    )
    return grids.grid(samples, columns=NUM_PER_CLASS)


def _animate(run: Run) -> None:
    """Shows the samples of at most MAX_FRAMES epochs, which are of the same latents, in motion."""
    paths = [run.path(f"images/samples-{epoch:03d}.png") for epoch in range(1, run.epoch + 1)]
    drawn = [path for path in paths if path.exists()]  # parts of a run may be without pictures
    if drawn:
        shown = [drawn[i] for i in spread(len(drawn), MAX_FRAMES)]
        frames = np.stack([grids.load(path) for path in shown])
        grids.animation(run.path("images/samples-animation"), frames)


def _explore(run: Run) -> None:
    """Draws the latent space, and counts its active dimensions."""
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
        "KL, nats per image",
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
