"""Models whose densities are known: all their conditionals are linear and Gaussian."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.models import Hierarchy, Objective, hierarchical_vae, vae
from jaxgen.models.likelihoods import Likelihood

# p(z) = N(0, I), p(x|z) = N(Az + b, I): p(x) = N(b, AAᵀ + I).
# Two layers: z₂ ~ N(0, I), z₁ ~ N(Cz₂ + d, S), x ~ N(Az₁ + b, I).
D, PIXELS = 2, 3
RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((D, PIXELS)), RNG.standard_normal(PIXELS)
C, SHIFT, LOG_S = RNG.standard_normal((D, D)), RNG.standard_normal(D), np.array([-0.5, 0.3])
X = RNG.standard_normal(PIXELS)


def unit_gaussian() -> Likelihood:
    def log_prob(mean, images):
        squares = (images.reshape(mean.shape) - mean) ** 2
        return -0.5 * jnp.sum(squares + np.log(2 * np.pi), axis=-1)

    return Likelihood(log_prob, lambda mean: mean.reshape(-1, 1, 1, PIXELS))


class Affine(nn.Module):
    """x W + c, from given numbers."""

    weights: Any
    bias: Any

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(len(x), -1)
        w = self.param("w", lambda _: jnp.asarray(self.weights, jnp.float32))
        return x @ w + self.param("b", lambda _: jnp.asarray(self.bias, jnp.float32))[None]


class Conditional(nn.Module):
    """N(x W + c, diag(exp(log_var))), from given numbers."""

    weights: Any
    bias: Any
    log_var: Any

    @nn.compact
    def __call__(self, x, train):
        mean = Affine(self.weights, self.bias, name="mean")(x, train)
        log_var = self.param("log_var", lambda _: jnp.asarray(self.log_var, jnp.float32))
        return mean, jnp.broadcast_to(log_var[None], mean.shape)


def normal_log_density(x, mean, covariance):
    difference = x - mean
    quadratic = difference @ np.linalg.solve(covariance, difference)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + len(x) * np.log(2 * np.pi))


def one_layer(**objective):
    # A posterior that is near the true one, and not it: else every bound would be tight.
    precision = np.linalg.inv(A @ A.T + np.eye(D))
    encoder = Conditional((A.T @ precision) * 0.8, -B @ A.T @ precision + 0.2, [-0.5, -0.9])
    shapes: dict[str, Any] = {"image_shape": (1, 1, PIXELS), "latent_size": D}
    model = vae(encoder, Affine(A, B), unit_gaussian(), **shapes, objective=Objective(**objective))
    return model, normal_log_density(X, B, A.T @ A + np.eye(PIXELS))


def two_layers(**objective):
    lower_covariance = C.T @ C + np.diag(np.exp(LOG_S))
    exact = normal_log_density(X, SHIFT @ A + B, A.T @ lower_covariance @ A + np.eye(PIXELS))
    precision = np.linalg.inv(A @ A.T + np.linalg.inv(lower_covariance))
    best = ((X - B) @ A.T + SHIFT @ np.linalg.inv(lower_covariance)) @ precision
    networks = Hierarchy(
        lower_encoder=Conditional(np.zeros((PIXELS, D)), best + 0.1, np.log(np.diag(precision))),
        upper_encoder=Conditional(0.2 * C.T, [0.1, -0.1], [-0.4, -0.4]),
        upper_decoder=Conditional(C, SHIFT, LOG_S),
        lower_decoder=Affine(A, B),
    )
    shapes: dict[str, Any] = {"image_shape": (1, 1, PIXELS), "latent_size": D}
    shapes["objective"] = Objective(**objective)
    return hierarchical_vae(networks, unit_gaussian(), **shapes), exact


FAMILIES = {"one layer": one_layer, "two layers": two_layers}
families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def images(count):
    return jnp.broadcast_to(jnp.asarray(X, jnp.float32), (count, 1, 1, PIXELS))
