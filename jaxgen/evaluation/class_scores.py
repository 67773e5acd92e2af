"""Measures on the class probabilities that a classifier gives to images."""

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError


def classifier_score(probabilities: ArrayLike) -> float:
    """How certain the classes are and how many of them occur.

        exp(1/N Σ_i KL(p(y|x_i) ‖ p(y))),   p(y) = 1/N Σ_i p(y|x_i)

    From 1 to the number of classes. It is the Inception score with another classifier: name the
    classifier beside it. It sees no difference between samples and training images.

    Args:
      probabilities: p(y|x_i), [N, num_classes], rows sum to 1.

    Raises:
      UserError: where the rows are no probabilities.

    References:
      Salimans et al., arXiv:1606.03498.
    """
    p = _checked(probabilities)
    marginal = p.mean(axis=0, keepdims=True)
    ratio = np.where(p > 0, p, 1) / np.where(p > 0, marginal, 1)
    return float(np.exp(np.sum(p * np.log(ratio), axis=1).mean()))


def class_histogram(probabilities: ArrayLike) -> np.ndarray:
    """The share of images whose most probable class is each class, [num_classes]."""
    p = _checked(probabilities)
    return np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)


def class_histogram_distance(samples: ArrayLike, reference: ArrayLike) -> float:
    """Total variation distance between the class histograms of two sets of images.

        ½ Σ_y |h_samples(y) − h_reference(y)|

    0 where classes occur equally often, near 1 where a generator repeats one class of many.

    Args:
      samples: probabilities [N, num_classes].
      reference: probabilities [M, num_classes].

    Raises:
      UserError: where the rows are no probabilities, or the numbers of classes differ.
    """
    first, second = class_histogram(samples), class_histogram(reference)
    if len(first) != len(second):
        raise UserError(
            f"expected as many classes in both sets, got {len(first)} and {len(second)}: use one "
            "classifier for both"
        )
    return float(0.5 * np.abs(first - second).sum())


def _checked(probabilities: ArrayLike) -> np.ndarray:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.size == 0:
        raise UserError(
            f"expected probabilities [N, num_classes], got {list(p.shape)}: one row per image"
        )
    if not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):  # NaN fails too
        raise UserError(
            "expected probabilities in rows that sum to 1, got others: apply softmax to logits, "
            "and look for NaN in the images"
        )
    return p
