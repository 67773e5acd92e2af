"""A small classifier of images, to say what generated images show."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.learners import minimize
from jaxgen.models.pixels import unit_interval
from jaxgen.networks.layers import batch_norm, dense
from jaxgen.types import Array, Inputs, Labels, Learner, Metrics, Model, PyTree

# Mean and standard deviation of MNIST's training pixels.
PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081


class MLPClassifier(nn.Module):
    """Dense layers to one logit a class: ReLU between them, BatchNorm after all but the first."""

    hidden_sizes: Sequence[int]
    num_classes: int

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        """[B, H, W, C] in [0, 1] -> logits [B, num_classes]."""
        x = (images.reshape(images.shape[0], -1) - PIXEL_MEAN) / PIXEL_STD
        for i, size in enumerate(self.hidden_sizes):
            x = nn.relu(dense(x, size, f"dense_{i}"))
            if i:
                x = batch_norm(x, train, f"norm_{i}")
        return batch_norm(dense(x, self.num_classes, "output"), train, "output_norm")


class Classifier(NamedTuple):
    """A classifier in training.

    Attributes:
      learner: its `step`, `epoch` and `evaluate` need labels; its metrics are `loss`, in nats per
        image, and `accuracy`.
      predict: (state, images) -> labels [B], the most probable ones.
    """

    learner: Learner
    predict: Callable[[PyTree, Array], Array]


def classifier_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    hidden_sizes: tuple[int, ...] = (16, 32, 64),
    num_classes: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
) -> Classifier:
    """An MLP that minimises the cross-entropy of the labels, with Adam."""
    network = MLPClassifier(hidden_sizes, num_classes)

    def init(key: Array) -> PyTree:
        return network.init(key, jnp.zeros((1, *image_shape)), train=False)

    def metrics(logits: Array, labels: Labels) -> Metrics:
        labels = jnp.asarray(labels)
        return {
            "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
            "accuracy": (logits.argmax(-1) == labels).astype(logits.dtype),
        }

    def loss(
        variables: PyTree, images: Inputs, key: Array, step: Array | int, *, labels: Labels = None
    ) -> tuple[Array, tuple[Metrics, PyTree]]:
        images = unit_interval(images, image_shape)
        logits, updated = network.apply(variables, images, True, mutable=["batch_stats"])
        means = jax.tree.map(jnp.mean, metrics(logits, labels))
        return means["loss"], (means, updated)

    def logits_of(variables: PyTree, images: Inputs) -> Array:
        return network.apply(variables, unit_interval(images, image_shape), False)  # pyright: ignore[reportReturnType]

    def evaluate(
        variables: PyTree, images: Inputs, key: Array, step: Array | int, *, labels: Labels = None
    ) -> Metrics:
        return metrics(logits_of(variables, images), labels)

    @jax.jit
    def predict(state: PyTree, images: Array) -> Array:
        return logits_of(state.variables, images).argmax(-1)

    learner = minimize(
        Model(init, loss, evaluate, image_shape, num_classes=num_classes),
        optax.adam(learning_rate),
        batch_size=batch_size,
    )
    return Classifier(learner, predict)
