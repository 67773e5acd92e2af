"""How different images are from one another: the measure that tells a collapsed generator."""

import jax.numpy as jnp

from jaxgen.types import Array


def mean_pairwise_distance(images: Array) -> Array:
    """The mean Euclidean distance between two different images of a set.

    Args:
      images: [N, ...], floats.

    Returns:
      A scalar; 0 where there is but one image.
    """
    x = images.reshape(len(images), -1)
    x = x - jnp.mean(x, axis=0, keepdims=True)  # small numbers lose less in the difference below
    squares = jnp.sum(x**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * x @ x.T
    distances = jnp.sqrt(jnp.maximum(distances, 0)) * (1 - jnp.eye(len(x)))
    return jnp.sum(distances) / max(len(x) * (len(x) - 1), 1)


def relative_diversity(samples: Array, images: Array) -> Array:
    """The mean pairwise distance of samples as a share of that of real images.

    Near 1 where samples differ as much as the data do, near 0 where a generator has collapsed to
    one picture. It is blind to the kind of difference: noise is diverse. 1 where the images are
    all alike.
    """
    reference = mean_pairwise_distance(images)
    alike = reference == 0
    return jnp.where(alike, 1.0, mean_pairwise_distance(samples) / jnp.where(alike, 1, reference))
