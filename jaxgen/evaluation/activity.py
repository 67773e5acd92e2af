"""Active units of any number of layers of latents (Burda et al., arXiv:1509.00519, section 5)."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.evaluation import _chunks
from jaxgen.evaluation._density import density_of
from jaxgen.evaluation.latents import ACTIVE_VARIANCE
from jaxgen.types import Array, Learner, PyTree


def latent_activity(
    learner: Learner,
    state: PyTree,
    images: ArrayLike,
    key: Array,
    *,
    num_samples: int = 32,
    labels: ArrayLike | None = None,
) -> tuple[np.ndarray, ...]:
    """Estimates the activity of each latent dimension of each layer by sampling.

        A_d = Cov_x(E_q(z|x)[z_d])

    The expectation of an upper layer has no closed form. Two means of independent halves of the
    samples are taken of each image; their covariance over images is an unbiased estimate of A_d,
    which the variance of one mean is not.

    Args:
      learner: of a model with a density.
      state: its state.
      images: [N, H, W, C], N at least 2.
      key: consumed.
      num_samples: of q(z|x) for each image, an even number.
      labels: [N], where the system is conditional.

    Returns:
      float64 [D] for each layer, the layer next to the image first. A dimension is active where
      its value is over 0.01.

    Raises:
      UserError: where the model has no density, or there are too few images or samples.
    """
    density = density_of(learner)
    _chunks.check_images(images, labels, num_samples)
    if num_samples < 2 or num_samples % 2:
        raise UserError(f"expected an even num_samples of at least 2, got {num_samples}")
    number = len(np.asarray(images))
    if number < 2:
        raise UserError(f"expected at least 2 images, got {number}: activity is a variance")
    observe_key, draw_key = jax.random.split(key)

    @jax.jit
    def halves(state: PyTree, images: Array, labels: Array | None, indices: Array) -> list[Array]:
        observe_keys, draw_keys = (_chunks.keys_of(k, indices) for k in (observe_key, draw_key))
        observations = _chunks.observe(density, images, observe_keys)
        posterior = density.posterior(state, observations, labels=labels)
        keys = jax.vmap(lambda key: jax.random.split(key, num_samples), out_axes=1)(draw_keys)
        latents, _ = _chunks.draw(density, state, posterior, labels, keys)
        return [
            layer.reshape(2, num_samples // 2, *layer.shape[1:]).mean(axis=1)
            for layer in jax.tree.leaves(latents)
        ]

    size, parts = min(_chunks.IMAGES_AT_ONCE, number), []
    for chunk in _chunks.image_chunks(images, labels, size):
        found = halves(
            state,
            jnp.asarray(chunk.images),
            _chunks.given(chunk.labels),
            jnp.asarray(chunk.indices),
        )
        parts.append([np.asarray(layer, np.float64)[:, : chunk.size] for layer in found])
    return tuple(_covariance(np.concatenate(layer, axis=1)) for layer in zip(*parts, strict=True))


def active_units(activity: tuple[np.ndarray, ...]) -> tuple[int, ...]:
    """How many dimensions of each layer are active: A_d > 0.01."""
    return tuple(int((layer > ACTIVE_VARIANCE).sum()) for layer in activity)


def _covariance(means: np.ndarray) -> np.ndarray:
    """Covariance over images of two estimates of one mean, [2, N, D] -> [D]."""
    first, second = means - means.mean(axis=1, keepdims=True)
    return (first * second).sum(axis=0) / (len(first) - 1)
