"""Measures on class probabilities, against loops and closed forms."""

import math

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.evaluation.class_scores import (
    class_histogram,
    class_histogram_distance,
    classifier_score,
)


def probabilities(seed=0, num_images=40, num_classes=5):
    return np.random.default_rng(seed).dirichlet(np.full(num_classes, 0.3), num_images)


def test_the_score_is_the_exponential_of_the_mean_divergence():
    p = probabilities()
    marginal = [sum(row[c] for row in p) / len(p) for c in range(5)]
    total = 0.0
    for row in p:
        total += sum(row[c] * math.log(row[c] / marginal[c]) for c in range(5))
    np.testing.assert_allclose(classifier_score(p), math.exp(total / len(p)), rtol=1e-12)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (np.eye(10), 10.0),  # every class, each certain
        (np.tile(np.eye(10)[3], (10, 1)), 1.0),  # one class
        (np.full((10, 10), 0.1), 1.0),  # no certainty
    ],
)
def test_the_bounds_of_the_score(p, expected):
    np.testing.assert_allclose(classifier_score(p), expected, rtol=1e-12)


def test_histograms():
    p = np.eye(4)[[0, 0, 1, 3]]
    np.testing.assert_array_equal(class_histogram(p), [0.5, 0.25, 0, 0.25])
    assert class_histogram_distance(p, p) == 0
    assert class_histogram_distance(p, np.eye(4)[[2, 2]]) == 1
    assert class_histogram_distance(p, np.eye(4)) == 0.25


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (np.full((3, 4), np.nan), "NaN"),
        (np.full((3, 4), 0.5), "softmax"),
        (np.zeros(4), r"got \[4\]"),
    ],
)
def test_what_is_no_probability_is_refused(p, message):
    with pytest.raises(UserError, match=message):
        classifier_score(p)


def test_different_classes_are_refused():
    with pytest.raises(UserError, match="4 and 3"):
        class_histogram_distance(np.eye(4), np.eye(3))
