"""The kernel distance against scikit-learn's kernel and a closed form."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from jaxgen.errors import UserError
from jaxgen.evaluation import kernel as module
from jaxgen.evaluation.kernel import kernel_distance


def gaussian(seed, num_images, mean=0.0, num_features=4):
    return np.random.default_rng(seed).standard_normal((num_images, num_features)) + mean


def mmd_with_sklearn(x, y):
    """The unbiased estimate as a U-statistic, with kernels from scikit-learn."""
    n, m = len(x), len(y)
    xx, yy = (polynomial_kernel(z, degree=3, gamma=None, coef0=1) for z in (x, y))
    xy = polynomial_kernel(x, y, degree=3, gamma=None, coef0=1)
    of_x = xx[~np.eye(n, dtype=bool)].mean()
    return of_x + yy[~np.eye(m, dtype=bool)].mean() - 2 * xy.mean()


def test_it_is_the_mean_over_blocks_of_sklearns_kernel():
    x, y = gaussian(0, 203), gaussian(1, 151, mean=0.5)
    rng = np.random.default_rng(7)
    blocks_x = np.array_split(x[rng.permutation(203)], 10)
    blocks_y = np.array_split(y[rng.permutation(151)], 10)
    values = [mmd_with_sklearn(a, b) for a, b in zip(blocks_x, blocks_y, strict=True)]
    value, standard_error = kernel_distance(x, y, seed=7)
    np.testing.assert_allclose(value, np.mean(values), rtol=1e-10)
    np.testing.assert_allclose(standard_error, np.std(values, ddof=1) / np.sqrt(10), rtol=1e-10)


def test_large_sets_have_blocks_of_at_most_a_thousand(monkeypatch):
    monkeypatch.setattr(module, "MAX_BLOCK_SIZE", 10)
    sizes = []
    original = module._unbiased
    monkeypatch.setattr(
        module, "_unbiased", lambda x, y: sizes.append((len(x), len(y))) or original(x, y)
    )
    kernel_distance(gaussian(0, 250), gaussian(1, 120))
    assert len(sizes) == 25
    assert max(max(pair) for pair in sizes) <= 10


def closed_form(mean):
    """MMD² of N(0, I) and N(mean · 1, I) in F dimensions, from moments of x · y / F.

    E k = 1 + 3 E s + 3 E s² + E s³, s = x · y / F a mean of F independent products p = a b with
    E p = μ_a μ_b, E p² = (1 + μ_a²)(1 + μ_b²), E p³ = (3 μ_a + μ_a³)(3 μ_b + μ_b³).
    """

    def expected(a, b, f=4):
        p1 = a * b
        p2 = (1 + a**2) * (1 + b**2)
        p3 = (3 * a + a**3) * (3 * b + b**3)
        s2 = (f * p2 + f * (f - 1) * p1**2) / f**2
        s3 = (f * p3 + 3 * f * (f - 1) * p2 * p1 + f * (f - 1) * (f - 2) * p1**3) / f**3
        return 1 + 3 * p1 + 3 * s2 + s3

    return expected(0, 0) + expected(mean, mean) - 2 * expected(0, mean)


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0])
def test_it_is_within_its_error_of_the_closed_form(mean):
    value, standard_error = kernel_distance(gaussian(0, 4000, mean), gaussian(1, 4000))
    assert abs(value - closed_form(mean)) < 3.5 * standard_error


def test_it_is_unbiased_and_its_standard_error_is_right():
    # 60 pairs of equal distributions: the mean is 0 within 3.5 of its own errors, negative values
    # occur, and the spread of the values is what each of them says.
    results = [kernel_distance(gaussian(i, 100), gaussian(1000 + i, 100)) for i in range(60)]
    values = np.array([result.value for result in results])
    assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(60)
    assert (values < 0).any()
    said = np.mean([result.standard_error for result in results])
    assert 0.7 < said / values.std() < 1.4


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match=r"at least 20 images in each set.*got 19"):
        kernel_distance(gaussian(0, 19), gaussian(1, 100))
