"""The diagonal Gaussians q(z|x) of a set of images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation import _chunks
from jaxgen.evaluation._density import density_of
from jaxgen.types import Array, Learner, PyTree


class Posteriors(NamedTuple):
    """q(z|x) = N(mean, diag(exp(log_var))) of each image, float64 [N, D]."""

    mean: np.ndarray
    log_var: np.ndarray


def posteriors(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    labels: ArrayLike | None = None,
) -> Posteriors:
    """Encodes the images as the likelihood sees them: binarized where the model binarizes.

    Raises:
      UserError: where the model has no density, or two layers of latents.
    """
    density = density_of(learner)
    _chunks.check_images(images, labels, 1)
    shapes = jax.eval_shape(lambda: density.sample_prior(state, 1, key, **_first_label(labels)))
    if len(jax.tree.leaves(shapes)) > 1:
        raise UserError(
            "expected a model with one layer of latents, got two: q(z₂|x) has no closed form, use "
            "evaluation.elbo and evaluation.log_likelihood"
        )
    parts = []
    size = min(_chunks.IMAGES_AT_ONCE, len(np.asarray(images)))
    for chunk in _chunks.image_chunks(images, labels, size):
        keys = _chunks.keys_of(key, jnp.asarray(chunk.indices))
        observations = _chunks.observe(density, jnp.asarray(chunk.images), keys)
        given = {} if chunk.labels is None else {"labels": _chunks.given(chunk.labels)}
        encoded = learner.require("encode")(state, observations, **given)
        parts.append([np.asarray(x, np.float64)[: chunk.size] for x in encoded])
    return Posteriors(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _first_label(labels: ArrayLike | None) -> dict[str, Array]:
    return {} if labels is None else {"labels": jnp.asarray(np.asarray(labels)[:1], jnp.int32)}
