"""The loss and the evaluation of a Model from the metrics of each image."""

from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxgen.types import Array, Inputs, Labels, Metrics, PyTree


class MetricsFunction(Protocol):
    """(variables, images, key, step, labels, train) -> (metrics, each [B], collections)."""

    def __call__(
        self,
        variables: PyTree,
        images: Inputs,
        key: Array,
        step: ArrayLike,
        labels: Labels,
        train: bool,
        /,
    ) -> tuple[Metrics, PyTree]:
        """Computes them."""
        ...


def mean_loss(
    metrics: MetricsFunction,
    variables: PyTree,
    images: Inputs,
    key: Array,
    step: ArrayLike,
    /,
    *,
    labels: Labels = None,
) -> tuple[Array, tuple[Metrics, PyTree]]:
    """(loss, (metrics, collections)): means over the batch in training mode."""
    per_image, collections = metrics(variables, images, key, step, labels, True)
    means = jax.tree.map(jnp.mean, per_image)
    return means["loss"], (means, collections)


def held_out_metrics(
    metrics: MetricsFunction,
    variables: PyTree,
    images: Inputs,
    key: Array,
    step: ArrayLike,
    /,
    *,
    labels: Labels = None,
) -> Metrics:
    """The metrics of each image, [B], in evaluation mode."""
    return metrics(variables, images, key, step, labels, False)[0]
