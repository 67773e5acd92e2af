"""The feature networks: the stored classifiers, random convolutions, functions of one's own."""

import hashlib
import importlib.resources
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from jaxgen import data, evaluation
from jaxgen.errors import UserError
from jaxgen.evaluation import feature_networks
from jaxgen.evaluation._batches import in_batches

RECORD = Path(__file__).parents[1] / "benchmarks" / "results" / "classifiers.json"
NAMES = sorted(feature_networks.CLASSIFIERS)
GOALS = {"mnist": 0.992, "fashion_mnist": 0.91}


def pictures(num_images=7, shape=(28, 28, 1)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_images, *shape)).astype(np.uint8)


def weights_of(name):
    folder = importlib.resources.files("jaxgen.evaluation") / "weights"
    return (folder / f"{name}.safetensors").read_bytes()


def forward_in_numpy(weights, image):
    """The classifier of one image [28, 28, 1] in float64, with loops over space."""
    w = {key: value.astype(np.float64) for key, value in weights.items()}

    def norm(x, name):
        scale = w[f"params/{name}/scale"] / np.sqrt(w[f"batch_stats/{name}/var"] + 1e-5)
        return (x - w[f"batch_stats/{name}/mean"]) * scale + w[f"params/{name}/bias"]

    x = image.astype(np.float64)
    for i, stride in enumerate((2, 2, 1)):
        kernel = w[f"params/conv_{i}/kernel"]
        size = kernel.shape[0]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        length = (padded.shape[0] - size) // stride + 1
        out = np.empty((length, length, kernel.shape[3]))
        for row in range(length):
            for column in range(length):
                top, left = stride * row, stride * column
                window = padded[top : top + size, left : left + size]
                out[row, column] = np.einsum("ijc,ijcd->d", window, kernel)
        x = np.maximum(norm(out, f"conv_norm_{i}"), 0)
    hidden = x.reshape(-1) @ w["params/features/kernel"] + w["params/features/bias"]
    features = np.maximum(norm(hidden, "features_norm"), 0)
    logits = features @ w["params/logits/kernel"] + w["params/logits/bias"]
    shares = np.exp(logits - logits.max())
    return features, shares / shares.sum()


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_weights_are_those_of_the_record(name):
    record, content = json.loads(RECORD.read_text())[name], weights_of(name)
    assert hashlib.sha256(content).hexdigest() == record["sha256"]
    assert record["sha256"] == feature_networks.SHA256[name]
    assert len(content) == record["bytes"] < 2e6
    assert record["test_accuracy"] >= GOALS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_accuracy_is_measured_again(name, real_data):
    test = data.load(name, real_data / "tfds").test
    assert test.labels is not None
    found = feature_networks.classifier(name).apply(test.images)
    assert found.probabilities is not None
    accuracy = np.mean(found.probabilities.argmax(axis=1) == test.labels)
    # One image in ten thousand may fall to the other side by rounding on another machine.
    assert abs(accuracy - json.loads(RECORD.read_text())[name]["test_accuracy"]) <= 2e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_is_the_formula(name):
    images = pictures(2)
    found = feature_networks.classifier(name).apply(images)
    assert found.probabilities is not None
    for i, image in enumerate(images):
        features, shares = forward_in_numpy(load(weights_of(name)), image / 255)
        np.testing.assert_allclose(found.features[i], features, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.probabilities[i], shares, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3)])
def test_random_convolutions_are_fixed_and_fit_any_size(shape):
    network = feature_networks.random_convolutions(shape)
    found = network.apply(pictures(3, shape)).features
    assert found.shape[1] <= 256
    assert f"{found.shape[1]} features" in network.name
    assert "random" in network.name
    np.testing.assert_array_equal(
        found, feature_networks.random_convolutions(shape).apply(pictures(3, shape)).features
    )
    # This value was computed once: the same weights on every machine and version.
    assert found.std() > 1e-3


def test_the_random_weights_never_change():
    # The first uniform doubles of PCG64 with seed 0, as NumPy documents them.
    rng = np.random.Generator(np.random.PCG64(0))
    np.testing.assert_allclose(rng.random(2), [0.6369616873214543, 0.2697867137638703], rtol=1e-15)


def test_features_do_not_depend_on_the_batch():
    images = pictures(7)
    network = feature_networks.classifier("mnist")
    together = network.apply(images).features
    alone = np.concatenate([network.apply(image[None]).features for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_batches_of_any_size_give_every_image_once(batch_size):
    x, y = np.arange(14.0).reshape(7, 2), np.arange(7)
    total, left = in_batches(
        lambda x, y: (x.sum(axis=1) + y, x[:, 0]), x, y, None, batch_size=batch_size
    )
    np.testing.assert_array_equal(total, x.sum(axis=1) + y)
    np.testing.assert_array_equal(left, x[:, 0])


def test_uint8_and_floats_are_the_same_images():
    network, images = feature_networks.random_convolutions((8, 8, 1)), pictures(3, (8, 8, 1))
    floats = network.apply(images.astype(np.float32) / 255).features
    np.testing.assert_array_equal(network.apply(images).features, floats)


def test_a_function_of_ones_own():
    network = feature_networks.from_function(
        lambda images: images.reshape(len(images), -1)[:, :3], "corner", (8, 8, 1)
    )
    images = pictures(4, (8, 8, 1))
    assert network.name == "corner (given)"
    np.testing.assert_allclose(network.apply(images).features, images[:, 0, :3, 0] / 255, rtol=1e-6)


def of_classes(name_of_network, name="folder:digits", shuffled=False):
    """Pictures that the classifiers disagree about, with the labels of one, or none of these."""
    rng = np.random.default_rng(0)
    coarse = rng.random((300, 7, 7, 1)) * (rng.random((300, 7, 7, 1)) < 0.3)
    images = (255 * coarse.repeat(4, axis=1).repeat(4, axis=2)).astype(np.uint8)
    found = {name: feature_networks.classifier(name).apply(images) for name in NAMES}
    classes = {name: np.argmax(np.asarray(x.probabilities), axis=1) for name, x in found.items()}
    differ = classes["mnist"] != classes["fashion_mnist"]
    images, labels = images[differ], classes[name_of_network][differ].astype(np.int32)
    assert len(images) > 50
    if shuffled:
        labels = np.where(labels == 3, 4, 3).astype(np.int32)
    return data.from_arrays(images, labels, images, labels, name=name)


def test_labels_decide_which_classifier_knows_a_data_set():
    mnist = feature_networks.classifier("mnist")
    assert "Fashion-MNIST" in evaluation.default_network(of_classes("fashion_mnist")).name
    found = evaluation.default_network(of_classes("mnist", name="a folder")).name
    assert found == "jaxgen's MNIST classifier (64 features)"
    # The name of a set says nothing where its labels disagree.
    other = of_classes("mnist", name="mnist", shuffled=True)
    share = evaluation.agreement(mnist, other.train)
    assert share is not None
    assert share < 0.3
    assert "random" in evaluation.default_network(other).name


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("binarized_mnist", (28, 28, 1), "jaxgen's MNIST classifier"),
        ("tfds:binarized_mnist", (28, 28, 1), "jaxgen's MNIST classifier"),
        ("photographs", (28, 28, 1), "random"),
        ("photographs", (16, 16, 3), "random"),
    ],
)
def test_sets_without_labels(name, shape, expected):
    dataset = data.from_arrays(pictures(4, shape), None, pictures(2, shape), name=name)
    assert expected in evaluation.default_network(dataset).name
    assert evaluation.agreement(feature_networks.classifier("mnist"), dataset.train) is None


@pytest.mark.slow
def test_the_sets_that_the_classifiers_were_made_for(real_data):
    shares: dict[tuple[str, str], float] = {}
    for name in ("mnist", "fashion_mnist", "glyphs"):
        for network in NAMES:
            train = data.load(name, real_data / "tfds").train
            share = evaluation.agreement(feature_networks.classifier(network), train)
            assert share is not None
            shares[name, network] = share
    for name, network in (("mnist", "mnist"), ("fashion_mnist", "fashion_mnist")):
        assert shares[name, network] > 0.9
    assert shares["glyphs", "mnist"] > 0.8
    assert max(shares["mnist", "fashion_mnist"], shares["fashion_mnist", "mnist"]) < 0.3


def test_a_network_is_chosen_by_name():
    mnist = feature_networks.classifier("mnist")
    dataset = of_classes("mnist")
    assert evaluation.chosen_network("mnist", dataset).name == mnist.name
    assert "random" in evaluation.chosen_network("random", dataset).name
    assert evaluation.chosen_network("auto", dataset).name == mnist.name
    with pytest.raises(UserError, match=r"Fashion-MNIST.*got folder:digits.*choose other features"):
        evaluation.chosen_network("fashion_mnist", dataset)
    with pytest.raises(UserError, match="among auto, mnist, fashion_mnist, random, got 'vgg'"):
        evaluation.chosen_network("vgg", dataset)
    photographs = data.from_arrays(pictures(4, (16, 16, 3)), None, pictures(2, (16, 16, 3)))
    with pytest.raises(UserError, match=r"images of 28x28x1.*got 16x16x3"):
        evaluation.chosen_network("mnist", photographs)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pictures(2, (32, 32, 1)), r"shape \[N, 28, 28, 1\].*got \[2, 32, 32, 1\].*convert"),
        (pictures(2, (28, 28, 3)), r"got \[2, 28, 28, 3\]"),
        (np.full((2, 28, 28, 1), np.nan, np.float32), "NaN in 2 of 2"),
        (np.full((2, 28, 28, 1), -1.0, np.float32), "values from -1 to -1"),
        (np.zeros((0, 28, 28, 1), np.uint8), r"got \[0, 28, 28, 1\]"),
        (np.zeros((2, 28, 28, 1), np.int32), "int32"),
    ],
)
def test_other_images_are_refused_in_one_line(images, message):
    with pytest.raises(UserError, match=message) as refused:
        feature_networks.classifier("mnist").apply(images)
    assert "\n" not in str(refused.value)


def test_damaged_weights_are_refused(monkeypatch):
    monkeypatch.setitem(feature_networks.SHA256, "mnist", "0" * 64)
    with pytest.raises(UserError, match=r"have changed .*install jaxgen again"):
        feature_networks.classifier("mnist")
