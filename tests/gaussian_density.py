"""A model whose log p(x) is known in closed form, as a Learner with a Density.

    p(z) = N(0, I),   p(x|z) = N(W z + b, s² I),   p(x) = N(b, W Wᵀ + s² I)

Its q(z|x) is the exact posterior, widened and shifted so that importance sampling has work to do.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Density, Learner

IMAGE_SHAPE = (2, 3, 1)
LATENT_SIZE = 2
SCALE = 0.5


def state(seed=0):
    """W [6, 2], b [6] as the state; its log p(x) is `log_likelihood`."""
    rng = np.random.default_rng(seed)
    return {
        "weights": jnp.asarray(rng.standard_normal((6, LATENT_SIZE)), jnp.float32),
        "bias": jnp.asarray(rng.standard_normal(6), jnp.float32),
    }


def exact_posterior(state):
    """Matrix A and covariance C of p(z|x) = N(A (x − b), C), float64."""
    weights = np.asarray(state["weights"], np.float64)
    covariance = np.linalg.inv(np.eye(LATENT_SIZE) + weights.T @ weights / SCALE**2)
    return covariance @ weights.T / SCALE**2, covariance


def log_likelihood(state, images):
    """log p(x) in closed form, float64 [N]."""
    weights, bias = (np.asarray(state[name], np.float64) for name in ("weights", "bias"))
    covariance = weights @ weights.T + SCALE**2 * np.eye(6)
    x = np.asarray(images, np.float64).reshape(len(images), -1) - bias
    quadratic = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + 6 * math.log(2 * math.pi))


def images(state, num_images, seed=1):
    """Draws of p(x), float32 [N, 2, 3, 1]."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((num_images, LATENT_SIZE))
    x = z @ np.asarray(state["weights"]).T + np.asarray(state["bias"])
    x = x + SCALE * rng.standard_normal(x.shape)
    return x.reshape(num_images, *IMAGE_SHAPE).astype(np.float32)


def _log_normal(x, mean, variance):
    return -0.5 * jnp.sum((x - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance), axis=-1)


def learner(widening=1.5, shift=0.3, unnormalized=None, num_classes=0, **fields: Any) -> Learner:
    """The model as a Learner of which only the density is there.

    With `num_classes`, label c adds c to every pixel's mean.
    """

    def offset(labels):
        zero = jnp.zeros((1, 1))
        return zero if labels is None else labels.astype(jnp.float32)[:, None]

    def flat(observations):
        return observations.reshape(len(observations), -1)

    def observe(images, key):
        return jnp.asarray(images)

    def posterior(state, observations, *, labels=None):
        weights = state["weights"]
        precision = jnp.eye(LATENT_SIZE) + weights.T @ weights / SCALE**2
        covariance = jnp.linalg.inv(precision)
        centred = flat(observations) - state["bias"][None] - offset(labels)
        mean = centred @ weights @ covariance / SCALE**2 + shift
        return {
            "mean": mean,
            "variance": widening * jnp.broadcast_to(jnp.diag(covariance), mean.shape),
        }

    def sample_posterior(state, posterior, key, num_samples, *, labels=None):
        mean, variance = posterior["mean"], posterior["variance"]
        noise = jax.random.normal(key, (num_samples, *mean.shape))
        latents = mean[None] + jnp.sqrt(variance)[None] * noise
        return latents, _log_normal(latents, mean[None], variance[None])

    def sample_prior(state, num_samples, key, *, labels=None):
        return jax.random.normal(key, (num_samples, LATENT_SIZE))

    def log_joint(state, observations, latents, *, labels=None):
        mean = jnp.einsum("kbd,id->kbi", latents, state["weights"]) + state["bias"][None, None]
        mean = mean + offset(labels)[None]
        variance = jnp.full((1, 1, 1), SCALE**2)
        fit = _log_normal(flat(observations)[None], mean, variance)
        return fit + _log_normal(latents, jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))

    def simulate(state, latents, key, *, labels=None):
        mean = latents @ state["weights"].T + state["bias"][None] + offset(labels)
        x = mean + SCALE * jax.random.normal(key, mean.shape)
        return x.reshape(-1, *IMAGE_SHAPE)

    def encode(state, images, *, labels=None):
        found = posterior(state, jnp.asarray(images), labels=labels)
        return found["mean"], jnp.log(found["variance"])

    density = Density(
        observe=observe,
        posterior=posterior,
        sample_posterior=sample_posterior,
        sample_prior=sample_prior,
        log_joint=log_joint,
        simulate=simulate,
        unnormalized=unnormalized,
        discrete=False,
    )
    absent: Any = None
    return Learner(
        init=absent,
        step=absent,
        epoch=absent,
        evaluate=absent,
        image_shape=IMAGE_SHAPE,
        latent_size=LATENT_SIZE,
        num_classes=num_classes,
        images_per_step=1,
        batch_size=1,
        encode=encode,
        density=density,
        **fields,
    )
