"""The Fréchet distance against scipy's matrix square root and closed forms on Gaussians."""

import numpy as np
import pytest
import scipy.linalg

from jaxgen.errors import UserError
from jaxgen.evaluation.frechet import frechet_distance


def features(seed, num_images=200, num_features=6):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((num_features, num_features))
    return rng.standard_normal((num_images, num_features)) @ mixing + rng.standard_normal(
        (1, num_features)
    )


def whitened(seed, num_images=200, num_features=6):
    """Features whose sample mean is 0 and whose sample covariance is the identity."""
    x = features(seed, num_images, num_features)
    x = x - x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def with_scipy(x, y):
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * np.real(root))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_scipys_square_root(seed):
    x, y = features(seed), features(seed + 10, num_images=150)
    # float64 on both sides; sqrtm of a product that is not symmetric loses some digits
    np.testing.assert_allclose(frechet_distance(x, y), with_scipy(x, y), rtol=1e-8)


def test_closed_forms_on_gaussians():
    # Means 0 and m, covariances diag(a²) and diag(b²): ‖m‖² + Σ (a − b)².
    a, b = np.array([1, 2, 0.5, 1, 3, 0.1]), np.array([2, 2, 1, 0.1, 1, 1])
    shift = np.arange(6) / 2
    x, y = whitened(0) * a, whitened(1) * b + shift
    expected = np.sum(shift**2) + np.sum((a - b) ** 2)
    np.testing.assert_allclose(frechet_distance(x, y), expected, rtol=1e-10)


def test_it_is_zero_of_a_set_to_itself_and_symmetric():
    x, y = features(0), features(1)
    assert frechet_distance(x, x) < 1e-9 * np.trace(np.cov(x, rowvar=False))
    np.testing.assert_allclose(frechet_distance(x, y), frechet_distance(y, x), rtol=1e-10)


def test_features_that_never_vary_do_no_harm():
    # A collapsed generator: scipy's square root of such a product is inaccurate, and NaN at times.
    y = whitened(1)
    repeated = np.tile(y[:1], (50, 1))
    expected = np.sum(y[0] ** 2) + 6  # trace of the identity
    np.testing.assert_allclose(frechet_distance(repeated, y), expected, rtol=1e-10)


def test_the_order_of_images_does_not_matter():
    x, y = features(0), features(1)
    order = np.random.default_rng(2).permutation(len(x))
    np.testing.assert_allclose(frechet_distance(x[order], y), frechet_distance(x, y), rtol=1e-11)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((6, 6)), "more images than the 6 features"),
        (np.full((20, 6), np.nan), "NaN or infinity in 20 of 20 rows"),
        (np.zeros((20, 5)), "5 and 6"),
        (np.zeros((20, 6, 1)), r"\[20, 6, 1\]"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(samples, message):
    with pytest.raises(UserError, match=message) as refused:
        frechet_distance(samples, features(0))
    assert "\n" not in str(refused.value)
