"""Observation models p(x|z): the distribution of an image given the decoder's output.

A likelihood is a pair of pure functions of the decoder's output, here called `params`:
`log_prob(params, images) -> [B]` in nats and `mean(params) -> images in [0, 1]`. `params` is an
array or a tuple of arrays, each with the batch as its leading axis.

Every mean here is the sigmoid of logits, so one decoder serves all of them. A Gaussian's −log p
and the squared error Σ_i (x_i − mean_i)² are related by

    unit variance:   −log p =   ½ squared error + n/2 log(2π)
    variance ½:      −log p =     squared error + n/2 log(π)        n = H · W · C

so that minimising beta · KL + squared error is minimising beta · KL − log p at variance ½, and
at unit variance that with twice the beta.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.networks.softplus import softplus
from jaxgen.types import Array

# (x − mean)² / (2 · variance) is the squared error itself, neither half of it nor twice.
SQUARED_ERROR_VARIANCE = 0.5


def average_logits(params: Any) -> Any:
    """Averages along a leading axis: logits so that sigmoid(result) = mean(sigmoid(logits)).

    Takes the `params` of any likelihood here, [K, B, ...], and gives [B, ...]; what stands beside
    the logits is averaged as it is.
    """
    logits, *others = params if isinstance(params, tuple) else (params,)
    # log p − log(1 − p) of the average p, from logarithms: finite where a sigmoid is 0 or 1.
    ones, zeros = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    average = jax.nn.logsumexp(ones, axis=0) - jax.nn.logsumexp(zeros, axis=0)
    return (average, *(x.mean(axis=0) for x in others)) if others else average


class Likelihood(NamedTuple):
    """An observation model.

    Attributes:
      log_prob: (params, images [B, H, W, C]) -> [B], nats, summed over pixels and channels.
      mean: params -> the expected image, in [0, 1].
      average: params with one more leading axis -> params whose mean is the average of theirs
        along that axis.
      sample: (params, key) -> images drawn from p(x|z), before any clipping to [0, 1]; None where
        that is not defined.
      unnormalized: why `log_prob` is not a log-density or log-probability, in one phrase; None
        where it is one.
      discrete: whether `log_prob` is the probability of binary pixels.
    """

    log_prob: Callable[[Any, Array], Array]
    mean: Callable[[Any], Array]
    average: Callable[[Any], Any] = average_logits
    sample: Callable[[Any, Array], Array] | None = None
    unnormalized: str | None = None
    discrete: bool = False


def bernoulli() -> Likelihood:
    r"""Independent Bernoulli pixels; `params` are logits.

    log p(x|logits) = Σ_i x_i logits_i − log(1 + exp(logits_i))

    This is the negative cross-entropy between x and sigmoid(logits), computed from the logits and
    finite for all of them. For x in {0, 1} it is a log-probability. For grey x in (0, 1) it is
    still a useful loss, but no log-likelihood: its normalizer over [0, 1] is missing, and it
    cannot reach 0.
    """

    def log_prob(logits: Array, images: Array) -> Array:
        return _sum_over_pixels(images * logits - softplus(logits))

    def sample(logits: Array, key: Array) -> Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)

    return Likelihood(log_prob, jax.nn.sigmoid, sample=sample, discrete=True)


def squared_error() -> Likelihood:
    """The whole squared error, the loss of many published VAEs; `params` are logits.

    log_prob = −Σ_i (x_i − mean_i)²,   mean = sigmoid(logits)

    This is log p of `gaussian` at variance SQUARED_ERROR_VARIANCE = ½ without its normalizer: to
    be a log-density in nats it lacks −n/2 log(2π · SQUARED_ERROR_VARIANCE) = −0.572 n.
    """

    def log_prob(logits: Array, images: Array) -> Array:
        return -_sum_of_squares(logits, images) / (2 * SQUARED_ERROR_VARIANCE)

    def sample(logits: Array, key: Array) -> Array:
        return _gaussian_sample(logits, jnp.sqrt(SQUARED_ERROR_VARIANCE), key)

    return Likelihood(
        log_prob,
        jax.nn.sigmoid,
        sample=sample,
        unnormalized="squared error without its normalizer",
    )


def gaussian(scale: float = 1.0) -> Likelihood:
    """Independent Gaussian pixels of one fixed standard deviation; `params` are logits.

    log p(x|logits) = Σ_i −½ ((x_i − mean_i) / scale)² − log(scale) − ½ log(2π),
    mean = sigmoid(logits)

    The normalizer is part of it: a log-density in nats, for pixels in [0, 1]. At the default,
    unit variance, its squared error counts half; scale = √½ is what `squared_error` minimises.

    Args:
      scale: standard deviation, above 0.

    Raises:
      UserError: where scale is not a positive number.
    """
    _checks.positive("scale", scale)

    def log_prob(logits: Array, images: Array) -> Array:
        return _gaussian_log_prob(logits, jnp.log(jnp.float32(scale)), images)

    def sample(logits: Array, key: Array) -> Array:
        return _gaussian_sample(logits, jnp.float32(scale), key)

    return Likelihood(log_prob, jax.nn.sigmoid, sample=sample)


def gaussian_learned_scale() -> Likelihood:
    """As `gaussian`, with a scale that is learned; `params` are (logits, log_scale [B]).

    The best scale is the root mean squared error of what the decoder predicts, which weighs
    reconstruction against KL without a beta to tune (Rybkin et al., arXiv:2006.13202). It comes
    from the decoder, like the mean: `networks.scale.LearnedScale` makes one parameter of it.
    """

    def log_prob(params: tuple[Array, Array], images: Array) -> Array:
        logits, log_scale = params
        return _gaussian_log_prob(logits, log_scale, images)

    def sample(params: tuple[Array, Array], key: Array) -> Array:
        logits, log_scale = params
        return _gaussian_sample(logits, jnp.exp(log_scale)[:, None, None, None], key)

    return Likelihood(log_prob, lambda params: jax.nn.sigmoid(params[0]), sample=sample)


def warn_if_not_likelihood(likelihood: str, say: Callable[[str], object]) -> None:
    """Says in one line that the loss does not bound a log-likelihood, where that is so."""
    if likelihood == "squared_error":
        say(
            "squared error: loss and elbo lack the Gaussian's normalizer, so they compare models "
            "but bound no log-likelihood (--likelihood gaussian has it)"
        )
    if likelihood == "bernoulli":
        say(
            "bernoulli on pixels that are not binary: the loss is a cross-entropy plus KL, not a "
            "bound on a log-likelihood (--likelihood gaussian gives one)"
        )


def _sum_of_squares(logits: Array, images: Array) -> Array:
    return _sum_over_pixels((images - jax.nn.sigmoid(logits)) ** 2)


def _sum_over_pixels(values: Array) -> Array:
    """[B, H, W, C] -> [B], as a product with ones.

    On CPU XLA hands a sum and the exponentials before it to a library that takes two to twelve
    times as long for them. Elsewhere a product may round what it multiplies unless told not to.
    """
    flat = values.reshape(values.shape[0], -1)
    return jnp.dot(flat, jnp.ones(flat.shape[1], flat.dtype), precision=jax.lax.Precision.HIGHEST)


def _gaussian_sample(logits: Array, scale: Array, key: Array) -> Array:
    noise = jax.random.normal(key, logits.shape, logits.dtype)
    return jax.nn.sigmoid(logits) + scale.astype(logits.dtype) * noise


def _gaussian_log_prob(logits: Array, log_scale: Array, images: Array) -> Array:
    num_values = math.prod(images.shape[1:])
    scaled = _sum_of_squares(logits, images) * jnp.exp(-2 * log_scale)
    return -0.5 * scaled - num_values * (log_scale + 0.5 * math.log(2 * math.pi))
