"""Neighbours, precision, recall, density and coverage against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from jaxgen.errors import UserError
from jaxgen.evaluation import neighbours
from jaxgen.evaluation.manifolds import density_coverage, precision_recall
from jaxgen.evaluation.neighbours import nearest


def sets(num_samples=60, num_reference=80, shift=0.7):
    rng = np.random.default_rng(0)
    return rng.standard_normal((num_samples, 3)) + shift, rng.standard_normal((num_reference, 3))


def radii_with_sklearn(x, k):
    found = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(x).kneighbors(x)[0]
    return found[:, k]  # the first neighbour is the point itself


def distances_one_by_one(x, y):
    return np.array([[np.sqrt(sum((p - q) ** 2)) for q in y] for p in x])


@pytest.fixture(params=["in one part", "row by row"])
def memory(request, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(neighbours, "BYTES_AT_ONCE", 1)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall(k):
    x, y = sets()
    d, rx, ry = distances_one_by_one(x, y), radii_with_sklearn(x, k), radii_with_sklearn(y, k)
    precision = np.mean([any(d[j, i] <= ry[i] for i in range(len(y))) for j in range(len(x))])
    recall = np.mean([any(d[j, i] <= rx[j] for j in range(len(x))) for i in range(len(y))])
    assert 0 < precision < 1
    assert 0 < recall < 1
    np.testing.assert_allclose(precision_recall(x, y, k), (precision, recall), rtol=1e-12)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("k", [2, 5])
def test_density_and_coverage(k):
    x, y = sets()
    d, ry = distances_one_by_one(x, y), radii_with_sklearn(y, k)
    density = sum(d[j, i] <= ry[i] for j in range(len(x)) for i in range(len(y))) / (k * len(x))
    coverage = np.mean([min(d[:, i]) <= ry[i] for i in range(len(y))])
    assert 0 < coverage < 1
    np.testing.assert_allclose(density_coverage(x, y, k), (density, coverage), rtol=1e-12)


def test_equal_distributions_have_density_one_and_the_known_coverage():
    # Coverage of M real by N equal samples: 1 − Π (M − 1 − i)/(M + N − 1 − i) over k factors
    # (Naeem et al., lemma 2), near 1 − 2^−k for N = M.
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 1500, 8))
    density, coverage = density_coverage(x, y)
    assert abs(density - 1) < 0.05
    expected = 1 - np.prod([(1499 - i) / (2999 - i) for i in range(5)])
    assert abs(coverage - expected) < 0.02


def test_a_generator_of_one_point_is_precise_and_recalls_nothing():
    _, y = sets()
    one = np.tile(y[:1], (60, 1))
    precision, recall = precision_recall(one, y)
    assert precision == 1
    assert recall <= 1 / len(y)
    assert density_coverage(one, y).coverage < 0.2


def test_nearest_against_sklearn_and_a_copy_has_distance_zero():
    rng = np.random.default_rng(2)
    training = rng.integers(0, 256, (90, 5, 5, 1)).astype(np.uint8)
    queries = rng.integers(0, 256, (20, 5, 5, 1)).astype(np.uint8)
    queries[3] = training[77]
    flat = [(z.reshape(len(z), -1) / 255) for z in (queries, training)]
    distances, indices = NearestNeighbors(n_neighbors=1).fit(flat[1]).kneighbors(flat[0])
    found, at = nearest(queries, training)
    np.testing.assert_array_equal(found, indices[:, 0])
    np.testing.assert_allclose(at, distances[:, 0], rtol=1e-10)
    assert found[3] == 77
    assert at[3] == 0
    floats, _ = nearest(queries / np.float32(255), training)
    np.testing.assert_array_equal(floats, found)


def test_too_few_images_and_nan_are_refused():
    x, y = sets()
    with pytest.raises(UserError, match=r"more than 3 images .* got 3"):
        precision_recall(x[:3], y)
    with pytest.raises(UserError, match=r"NaN or infinity in 1 of 60 rows .*row 7"):
        x[7, 1] = np.nan
        density_coverage(x, y)
    with pytest.raises(UserError, match="expected finite images"):
        nearest(np.full((2, 4, 4, 1), np.nan), np.zeros((3, 4, 4, 1)))
