"""The networks in whose features images are compared.

Two classifiers trained by this project (`benchmarks/train_classifiers.py`) are part of the package:
of MNIST and of Fashion-MNIST, 64 features each. For other images there is a network of fixed
random convolutions, or any function of one's own. A distance between features means nothing
without the name of the network: distances of different networks cannot be compared, and none of
these networks is the Inception network of the published "FID".
"""

import hashlib
import importlib.resources
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation._batches import in_batches
from jaxgen.evaluation._feature_arrays import checked_images, feature_matrix
from jaxgen.networks.conv_classifier import ConvClassifier
from jaxgen.types import Array, PyTree

# SHA-256 of the files in weights/; benchmarks/results/classifiers.json has the test accuracies.
SHA256 = {
    "mnist": "6f92d313cf0dcfbf38f251e1067c9014daa9dae5fd613c2989ba601f69b632a5",
    "fashion_mnist": "6a696ca7cc53856dea48093bc78ce2b085856b3878ba02816f9813fa97730b0b",
}
CLASSIFIERS = {
    "mnist": "jaxgen's MNIST classifier",
    "fashion_mnist": "jaxgen's Fashion-MNIST classifier",
}


class Features(NamedTuple):
    """What a feature network says about images.

    Attributes:
      features: float32 [N, F].
      probabilities: of the classes, [N, num_classes]; None where the network has no classes.
    """

    features: np.ndarray
    probabilities: np.ndarray | None


class FeatureNetwork(NamedTuple):
    """A named function of images.

    Attributes:
      name: the label of every result, such as "jaxgen's MNIST classifier (64 features)".
      image_shape: (H, W, C) of the images it takes.
      apply: images [N, H, W, C], uint8 or floats in [0, 1] -> Features. Raises UserError for
        other shapes and for NaN. The features of an image do not depend on the others.
    """

    name: str
    image_shape: tuple[int, int, int]
    apply: Callable[[ArrayLike], Features]


def classifier(name: str) -> FeatureNetwork:
    """The classifier of "mnist" or "fashion_mnist" that is part of the package.

    Its 64 features are the last hidden layer, after ReLU.

    Raises:
      UserError: for another name, or where the file of weights is damaged.
    """
    if name not in CLASSIFIERS:
        raise UserError(f"expected a classifier of {', '.join(CLASSIFIERS)}, got {name!r}")
    variables, network = _stored_weights(name), ConvClassifier()

    @jax.jit
    def features(images: Array) -> tuple[Array, Array]:
        outputs: Any = network.apply(variables, images, False)
        return outputs[0], jax.nn.softmax(outputs[1], axis=-1)

    shape = (28, 28, 1)

    def apply(images: ArrayLike) -> Features:
        return Features(*in_batches(features, checked_images(images, shape)))

    return FeatureNetwork(f"{CLASSIFIERS[name]} ({network.num_features} features)", shape, apply)


def random_convolutions(image_shape: tuple[int, int, int]) -> FeatureNetwork:
    """A network of fixed random weights: 256 features, of images of any size.

    Convolutions (kernel 4, stride 2, padding 1) with 32, 64, 128 and 256 channels and ReLU, as many
    as the size allows, then the mean over space. Its distances depend on
    colours, edges and textures, and not on what an image shows.

    Args:
      image_shape: (H, W, C); H and W at least 4.

    Raises:
      UserError: where the images are too small.
    """
    height, width, channels = image_shape
    num_layers = min(4, int(np.log2(min(height, width))) - 1)
    if num_layers < 1:
        raise UserError(
            f"expected images of at least 4 by 4 pixels for random features, got {height} by "
            f"{width}: give features of your own"
        )
    # PCG64's uniform doubles are the same in every version of NumPy; normal ones may change.
    rng = np.random.Generator(np.random.PCG64(0))
    sizes = [channels, 32, 64, 128, 256][: num_layers + 1]
    kernels = []
    for fan_in, size in itertools.pairwise(sizes):
        bound = np.sqrt(6 / (16 * fan_in))  # He et al.: keeps the scale through ReLU
        values = (2 * rng.random((4, 4, fan_in, size)) - 1) * bound
        kernels.append(jnp.asarray(values, jnp.float32))

    @jax.jit
    def features(images: Array) -> tuple[Array]:
        x = 2 * images - 1
        for kernel in kernels:
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=dimensions
            )
            x = jax.nn.relu(x)
        return (x.mean(axis=(1, 2)),)

    def apply(images: ArrayLike) -> Features:
        (values,) = in_batches(features, checked_images(images, image_shape))
        return Features(values, None)

    return FeatureNetwork(f"fixed random convolutions ({sizes[-1]} features)", image_shape, apply)


def from_function(
    function: Callable[[np.ndarray], ArrayLike],
    name: str,
    image_shape: tuple[int, int, int],
    probabilities: bool = False,
) -> FeatureNetwork:
    """A function of one's own as a feature network.

    Args:
      function: float32 images [N, H, W, C] in [0, 1] -> features [N, F]; with `probabilities`
        a pair of these and of class probabilities [N, num_classes].
      name: what stands beside the numbers.
      image_shape: (H, W, C) of the images it takes.
      probabilities: whether it gives them.
    """

    def apply(images: ArrayLike) -> Features:
        result = function(checked_images(images, image_shape))
        values, classes = result if probabilities else (result, None)  # pyright: ignore[reportGeneralTypeIssues]
        values = feature_matrix(values).astype(np.float32)
        return Features(values, None if classes is None else np.asarray(classes))

    return FeatureNetwork(f"{name} (given)", image_shape, apply)


def _stored_weights(name: str) -> PyTree:
    """The classifier's variables, from the package."""
    import safetensors.numpy

    file = importlib.resources.files("jaxgen.evaluation") / "weights" / f"{name}.safetensors"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the weights of {CLASSIFIERS[name]} ({error.strerror or error}): "
            "install jaxgen again"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise UserError(
            f"the weights of {CLASSIFIERS[name]} have changed since they were published "
            f"({file}): install jaxgen again"
        )
    arrays = safetensors.numpy.load(content)
    return unflatten_dict({key: array.astype(np.float32) for key, array in arrays.items()}, sep="/")
