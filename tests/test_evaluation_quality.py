"""Each kind of degenerate generator is detected by the number that measures it."""

import numpy as np
import pytest
from PIL import Image

from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.evaluation import feature_networks
from jaxgen.evaluation.conversion import converted
from jaxgen.evaluation.quality import sample_quality

NUM = 1000


@pytest.fixture(scope="module")
def digits():
    """Glyphs, which are always at hand: training images, other training images, test images."""
    dataset = data.load("glyphs")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(dataset.train.images))
    test = dataset.test.images[rng.permutation(len(dataset.test.images))[:NUM]]
    return dataset.train.images[order[:4000]], dataset.train.images[order[4000 : 4000 + NUM]], test


@pytest.fixture(scope="module")
def reports(digits):
    """The measures of four generators in the features of the MNIST classifier."""
    train, good, test = digits
    bordered = good.copy()
    bordered[:, :2], bordered[:, -2:] = 128, 128
    bordered[:, :, :2], bordered[:, :, -2:] = 128, 128
    generators = {
        "good": good,
        "one image": np.repeat(good[:1], NUM, axis=0),
        "copies": train[:NUM],
        "border": bordered,
    }
    network = feature_networks.classifier("mnist")
    return {name: sample_quality(x, train, test, network) for name, x in generators.items()}


def test_a_good_generator_is_near_the_floor(reports):
    samples, floor = reports["good"]["samples"], reports["good"]["floor"]
    for name in ("precision", "recall", "coverage"):
        assert abs(samples[name] - floor[name]) < 0.08, name
    assert samples["frechet_distance"] < 1.5 * floor["frechet_distance"]
    assert samples["classifier_score"] == pytest.approx(floor["classifier_score"], rel=0.05)
    assert reports["good"]["notes"] == []


def test_one_image_is_told_by_recall_coverage_and_classes(reports):
    samples, floor = reports["one image"]["samples"], reports["one image"]["floor"]
    assert samples["recall"] < 0.02
    assert samples["coverage"] < 0.02 < floor["coverage"]
    assert samples["classifier_score"] == pytest.approx(1, abs=1e-3)
    assert samples["class_histogram_distance"] > 0.8
    assert samples["frechet_distance"] > 20 * floor["frechet_distance"]


def test_copies_are_told_by_the_nearest_training_image_alone(reports):
    samples, floor = reports["copies"]["samples"], reports["copies"]["floor"]
    assert samples["nearest_training_distance"] == 0
    assert floor["nearest_training_distance"] > 1
    assert samples["frechet_distance"] < 1.5 * floor["frechet_distance"]
    assert abs(samples["recall"] - floor["recall"]) < 0.08


def test_a_border_is_told_by_precision_and_distances(reports):
    samples, floor = reports["border"]["samples"], reports["border"]["floor"]
    assert samples["precision"] < floor["precision"] - 0.2
    assert samples["frechet_distance"] > 5 * floor["frechet_distance"]
    errors = samples["kernel_distance_standard_error"]
    assert samples["kernel_distance"] > floor["kernel_distance"] + 5 * errors


def test_every_report_names_its_features(reports):
    assert reports["good"]["feature_network"] == "jaxgen's MNIST classifier (64 features)"
    assert reports["good"]["num_samples"] == reports["good"]["num_reference"] == NUM
    assert "FID" not in str(reports["good"])


def test_few_images_leave_measures_out_and_say_so(digits):
    train, good, test = digits
    report = sample_quality(good[:30], train, test[:30], feature_networks.classifier("mnist"))
    assert report["samples"]["frechet_distance"] is None
    assert report["samples"]["precision"] is not None
    assert report["notes"] == [
        "no frechet distance: expected more images than the 64 features for a covariance, got 30: "
        "give at least 65 images"
    ]


def test_a_network_without_classes_has_no_class_scores(digits):
    train, good, test = digits
    network = feature_networks.random_convolutions((28, 28, 1))
    report = sample_quality(good[:50], train[:60], test[:50], network)
    assert "classifier_score" not in report["samples"]
    assert report["samples"]["kernel_distance"] is not None


def test_fewer_training_images_than_samples_are_refused(digits):
    train, good, test = digits
    with pytest.raises(UserError, match="at least as many training images"):
        sample_quality(good, train[:10], test, feature_networks.classifier("mnist"))


def test_conversion_is_explicit_and_that_of_pil():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 40, 30, 3)).astype(np.uint8)
    grey = converted(images, (40, 30, 1))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    np.testing.assert_allclose(255 * grey[..., 0], expected, atol=1)  # PIL rounds to integers
    small = converted(images, (20, 15, 3))
    resized = [Image.fromarray(i).resize((15, 20), Image.Resampling.BICUBIC) for i in images]
    np.testing.assert_allclose(255 * small, np.stack([np.asarray(i) for i in resized]), atol=1)
    back = converted(grey, (40, 30, 3))
    np.testing.assert_array_equal(back, np.repeat(grey, 3, axis=3))
    with pytest.raises(UserError, match="1 or 3"):
        converted(images[..., :2], (28, 28, 1))
