"""All measures of sample quality of one set of images, beside those of real images."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation.class_scores import class_histogram_distance, classifier_score
from jaxgen.evaluation.feature_networks import FeatureNetwork, Features
from jaxgen.evaluation.frechet import frechet_distance
from jaxgen.evaluation.kernel import kernel_distance
from jaxgen.evaluation.manifolds import density_coverage, precision_recall
from jaxgen.evaluation.neighbours import nearest

Measures = dict[str, float | None]
NUM_NEAREST = 1000  # samples whose nearest training images are looked for


def sample_quality(
    samples: ArrayLike,
    train_images: ArrayLike,
    reference_images: ArrayLike,
    network: FeatureNetwork,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares samples, and as many training images, with held-out images.

    The training images are the floor: what a perfect generator would get at this size. A measure
    says something by its distance from the floor, and together with the name of the network.

    Args:
      samples: generated images [N, H, W, C], uint8 or floats in [0, 1].
      train_images: [at least N, H, W, C].
      reference_images: held-out images [M, H, W, C].
      network: of the features.
      seed: of the choice of training images and of blocks.

    Returns:
      "feature_network", "num_samples", "num_reference"; "samples" and "floor", each with the
      measures of `measures` and with "nearest_training_distance": the median Euclidean distance in
      pixels (values in [0, 1]) to the nearest training image, for the floor that of held-out
      images; "notes", one line for each measure that could not be taken.

    Raises:
      UserError: where images have another shape than the network's, have NaN, or there are fewer
        training images than samples.
    """
    generated, train = np.asarray(samples), np.asarray(train_images)
    held_out = np.asarray(reference_images)
    if len(train) < len(generated):
        raise UserError(
            f"expected at least as many training images as samples for the floor, got {len(train)} "
            f"and {len(generated)}: take fewer samples"
        )
    chosen = np.random.default_rng(seed).permutation(len(train))[: len(generated)]
    reference = network.apply(held_out)
    of_samples, notes = measures(network.apply(generated), reference, seed)
    of_floor, _ = measures(network.apply(train[np.sort(chosen)]), reference, seed)
    for which, images in ((of_samples, generated), (of_floor, held_out)):
        _, distances = nearest(images[:NUM_NEAREST], train)
        which["nearest_training_distance"] = float(np.median(distances))
    return {
        "feature_network": network.name,
        "num_samples": len(generated),
        "num_reference": len(held_out),
        "samples": of_samples,
        "floor": of_floor,
        "notes": notes,
    }


def measures(samples: Features, reference: Features, seed: int = 0) -> tuple[Measures, list[str]]:
    """All measures of two sets of features.

    Returns:
      Their values by name, None where one cannot be taken of so few images or without classes;
      and one line for each that was left out for want of images.
    """
    x, y, notes = samples.features, reference.features, []
    found: Measures = {}

    def take(names: tuple[str, ...], measure: Any) -> None:
        try:
            values = measure()
        except UserError as error:
            values = (None,) * len(names)
            notes.append(f"no {names[0].replace('_', ' ')}: {error}")
        found.update(zip(names, values, strict=True))

    take(("frechet_distance",), lambda: (frechet_distance(x, y),))
    take(("kernel_distance", "kernel_distance_standard_error"), lambda: kernel_distance(x, y, seed))
    take(("precision", "recall"), lambda: precision_recall(x, y))
    take(("density", "coverage"), lambda: density_coverage(x, y))
    if samples.probabilities is not None and reference.probabilities is not None:
        found["classifier_score"] = classifier_score(samples.probabilities)
        found["class_histogram_distance"] = class_histogram_distance(
            samples.probabilities, reference.probabilities
        )
    return found, notes
