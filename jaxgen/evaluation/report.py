"""`evaluate`: everything that can be measured of one trained model, as one report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.errors import UserError
from jaxgen.evaluation._likelihood_report import likelihood_report
from jaxgen.evaluation.activity import active_units, latent_activity
from jaxgen.evaluation.aggregate_posterior import kl_split
from jaxgen.evaluation.encoding import posteriors
from jaxgen.evaluation.feature_choice import default_network
from jaxgen.evaluation.feature_networks import FeatureNetwork
from jaxgen.evaluation.latents import active
from jaxgen.evaluation.neighbours import nearest
from jaxgen.evaluation.quality import sample_quality
from jaxgen.evaluation.samples import draw_samples
from jaxgen.types import Array, Dataset, Learner, PyTree, Split

MAX_GENERATED = 10_000
NUM_PICTURES = 32
NUM_ENCODED = 5000  # images whose latents are measured: the time grows with the square

Progress = Callable[[str, int, int], object]


class Evaluation(NamedTuple):
    """What `evaluate` gives.

    Attributes:
      report: what evaluation.json contains: "split", "num_images", "likelihood", "latents",
        "sample_quality" (each None where the model has no such thing) and "notes".
      samples: 32 samples, uint8 [32, H, W, C].
      neighbours: the training image nearest to each, by pixels.
    """

    report: dict[str, Any]
    samples: np.ndarray
    neighbours: np.ndarray


def evaluate(
    learner: Learner,
    state: PyTree,
    dataset: Dataset,
    key: Array,
    *,
    num_samples: int = 5000,
    num_images: int | None = None,
    split: str = "test",
    network: FeatureNetwork | None = None,
    score: bool = False,
    partial: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures a trained model: likelihood, latent space and sample quality.

    Args:
      learner: any.
      state: its state.
      dataset: the training images, and those to evaluate on.
      key: consumed.
      num_samples: K of the likelihood.
      num_images: evaluate on the first so many images of the split; None for all.
      split: of the dataset.
      network: of the features; None takes the one that knows the data set, see `default_network`.
      score: give the bound of a model without a log-likelihood, as a score.
      partial: a file in which finished estimates of the likelihood are kept: when an evaluation
        with the same settings finds it, it continues from there.
      progress: called with (what is done, images done, images in all).

    Returns:
      The report, and pictures of samples beside their nearest training images.

    Raises:
      UserError: the dataset has no such split, or the settings make no sense.
    """
    chosen = _chosen_split(dataset, split, num_images)
    labels = chosen.labels if learner.num_classes else None
    likelihood_key, latents_key, samples_key = jax.random.split(key, 3)
    notes: list[str] = []
    report: dict[str, Any] = {"split": split, "num_images": len(chosen.images)}
    report["likelihood"] = None
    if learner.density is not None:
        report["likelihood"] = likelihood_report(
            learner,
            state,
            chosen.images,
            likelihood_key,
            num_samples,
            labels,
            score=score,
            partial=partial,
            progress=progress,
            notes=notes,
        )
    report["latents"] = _latents_report(learner, state, chosen, latents_key)
    samples = _samples(learner, state, dataset, len(chosen.images), samples_key, progress)
    shown = samples[:NUM_PICTURES]
    indices, _ = nearest(shown, dataset.train.images)
    network = network or default_network(dataset)
    quality = sample_quality(samples, dataset.train.images, chosen.images, network)
    notes += quality.pop("notes")
    report["sample_quality"] = quality
    report["notes"] = notes
    return Evaluation(report, shown, dataset.train.images[indices])


def _chosen_split(dataset: Dataset, name: str, num_images: int | None) -> Split:
    if name not in dataset.splits:
        raise UserError(
            f"expected a split of {dataset.name} ({', '.join(sorted(dataset.splits))}), got "
            f"{name!r}: choose one"
        )
    split = dataset.splits[name]
    if num_images is not None and not 1 <= num_images <= len(split.images):
        raise UserError(
            f"expected num_images from 1 to the {len(split.images)} images of the split {name}, "
            f"got {num_images}"
        )
    labels = None if split.labels is None else split.labels[:num_images]
    return Split(split.images[:num_images], labels)


def _latents_report(
    learner: Learner, state: PyTree, split: Split, key: Array
) -> dict[str, Any] | None:
    """Active units, with one layer the split of the KL term too; None without Gaussian latents."""
    if learner.density is None or learner.encode is None:
        return None
    images = split.images[:NUM_ENCODED]
    labels = (
        split.labels[:NUM_ENCODED] if learner.num_classes and split.labels is not None else None
    )
    observe_key, split_key = jax.random.split(key)
    latents = jax.eval_shape(lambda: learner.require("density").sample_prior(state, 1, key))
    if len(jax.tree.leaves(latents)) > 1:
        activity = latent_activity(learner, state, images, observe_key, labels=labels)
        return {
            "num_images": len(images),
            "active_units_of_layers": list(active_units(activity)),
            "latent_sizes": [len(layer) for layer in activity],
        }
    mean, log_var = posteriors(learner, state, images, observe_key, labels)
    parts = kl_split(mean, log_var, split_key)
    return {
        "num_images": len(images),
        "active_units": int(active(mean).sum()),
        "latent_size": mean.shape[1],
        "kl": parts.kl,
        "mutual_information": parts.mutual_information,
        "total_correlation": parts.total_correlation,
        "dimension_wise_kl": float(parts.dimension_wise_kl.sum()),
    }


def _samples(
    learner: Learner,
    state: PyTree,
    dataset: Dataset,
    num_reference: int,
    key: Array,
    progress: Progress | None,
) -> np.ndarray:
    """As many samples as there are images to compare them with, at most 10,000."""
    number = min(MAX_GENERATED, num_reference, len(dataset.train.images))
    labels = None
    if learner.num_classes and dataset.train.labels is not None:
        labels = dataset.train.labels[:number]  # classes as often as in the data
    images = draw_samples(learner, state, number, key, labels)
    if progress is not None:
        progress("samples", number, number)
    return images
