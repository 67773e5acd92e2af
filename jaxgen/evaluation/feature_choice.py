"""Which feature network a data set is evaluated with."""

import numpy as np

from jaxgen.errors import UserError
from jaxgen.evaluation.feature_networks import (
    CLASSIFIERS,
    FeatureNetwork,
    classifier,
    random_convolutions,
)
from jaxgen.types import Dataset, Split

CHOICES = ("auto", *CLASSIFIERS, "random")
NUM_COMPARED = 500  # labelled images
LEAST_AGREEMENT = 0.5  # ten classes agree by chance in 0.1
# Sets without labels whose classes are known.
UNLABELLED = {"binarized_mnist": "mnist"}


def agreement(network: FeatureNetwork, split: Split) -> float | None:
    """Share of some images whose most probable class under the network is their label.

    Args:
      network: with class probabilities.
      split: the images; 500 of them, chosen at random under a fixed seed, are compared.

    Returns:
      The share; None where there are no labels.
    """
    if split.labels is None:
        return None
    chosen = np.random.default_rng(0).permutation(len(split.images))[:NUM_COMPARED]
    probabilities = network.apply(np.asarray(split.images[chosen])).probabilities
    if probabilities is None:
        return None
    return float(np.mean(probabilities.argmax(axis=1) == split.labels[chosen]))


def default_network(dataset: Dataset) -> FeatureNetwork:
    """The classifier that agrees with the labels of a data set; random convolutions for others.

    The labels decide and not the name, so that a copy of MNIST in a folder is compared in the same
    features as MNIST itself, and a folder called "mnist" of other images is not. A set without
    labels has a classifier where its name says what it shows: binarized_mnist.
    """
    shape = _image_shape(dataset)
    if shape == (28, 28, 1):
        if dataset.train.labels is None:
            known = UNLABELLED.get(dataset.name.removeprefix("tfds:"))
            return classifier(known) if known else random_convolutions(shape)
        for network in map(classifier, CLASSIFIERS):
            if (agreement(network, dataset.train) or 0) > LEAST_AGREEMENT:
                return network
    return random_convolutions(shape)


def chosen_network(choice: str, dataset: Dataset) -> FeatureNetwork:
    """The feature network of a name, for one data set.

    Args:
      choice: "auto" for `default_network`; "mnist" or "fashion_mnist" for a classifier; "random"
        for random convolutions.
      dataset: what is evaluated.

    Raises:
      UserError: for another name; where the images do not fit the classifier; where their labels
        are not its classes.
    """
    if choice not in CHOICES:
        raise UserError(f"expected features among {', '.join(CHOICES)}, got {choice!r}")
    if choice == "auto":
        return default_network(dataset)
    if choice == "random":
        return random_convolutions(_image_shape(dataset))
    network = classifier(choice)
    if _image_shape(dataset) != network.image_shape:
        raise UserError(
            f"expected images of {_size(network.image_shape)} for {network.name}, got "
            f"{_size(_image_shape(dataset))} of {dataset.name}: choose random features"
        )
    share = agreement(network, dataset.train)
    if share is not None and share <= LEAST_AGREEMENT:
        raise UserError(
            f"expected a data set with the classes of {network.name}, got {dataset.name}, whose "
            f"labels it gives to {share:.0%} of the images: choose other features (auto, random)"
        )
    return network


def _image_shape(dataset: Dataset) -> tuple[int, int, int]:
    height, width, channels = dataset.train.images.shape[1:]
    return height, width, channels


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
