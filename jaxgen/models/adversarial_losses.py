"""The losses of adversarial training, per example: each maps scores [B] to losses [B].

The critic scores an image: high where it takes it for real. For the first three losses the score is
the logit of D, the probability of being real: D = sigmoid(score).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array


class AdversarialLoss(NamedTuple):
    """A pair of losses, of which the critic descends one and the generator the other.

    Attributes:
      critic: (scores of real images, scores of fakes), each [B] -> [B].
      generator: scores of fakes [B] -> [B]; falls where a score rises.
      boundary: the score above which an image counts as taken for real.
    """

    critic: Callable[[Array, Array], Array]
    generator: Callable[[Array], Array]
    boundary: float = 0.0


def _cross_entropy(real_scores: Array, fake_scores: Array) -> Array:
    """−log D(real) − log(1 − D(fake)), finite for every finite score."""
    return jax.nn.softplus(-real_scores) + jax.nn.softplus(fake_scores)


# Critic −log D(real) − log(1 − D(fake)); generator −log D(fake).
#
# What Goodfellow et al. (arXiv:1406.2661) train with: its gradient is largest where the critic is
# sure of a fake.
NON_SATURATING = AdversarialLoss(
    critic=_cross_entropy,
    generator=lambda fake_scores: jax.nn.softplus(-fake_scores),
)

# Critic −log D(real) − log(1 − D(fake)); generator log(1 − D(fake)).
#
# The zero-sum game of the same paper: its gradient vanishes where the critic is sure of a fake.
MINIMAX = AdversarialLoss(
    critic=_cross_entropy,
    generator=lambda fake_scores: -jax.nn.softplus(fake_scores),
)

# Critic ½(real − 1)² + ½ fake²; generator ½(fake − 1)² (Mao et al., arXiv:1611.04076).
LEAST_SQUARES = AdversarialLoss(
    critic=lambda real_scores, fake_scores: 0.5 * ((real_scores - 1) ** 2 + fake_scores**2),
    generator=lambda fake_scores: 0.5 * (fake_scores - 1) ** 2,
    boundary=0.5,
)

# Critic max(0, 1 − real) + max(0, 1 + fake); generator −fake (Lim and Ye, arXiv:1705.02894).
HINGE = AdversarialLoss(
    critic=lambda real_scores, fake_scores: (
        jax.nn.relu(1 - real_scores) + jax.nn.relu(1 + fake_scores)
    ),
    generator=lambda fake_scores: -fake_scores,
)

# Critic fake − real; generator −fake (Arjovsky et al., arXiv:1701.07875).
#
# The negative of the critic's loss estimates the Wasserstein distance if the critic is 1-Lipschitz,
# which takes `gradient_penalty` or, up to an unknown factor, `transforms.clip_weights`.
WASSERSTEIN = AdversarialLoss(
    critic=lambda real_scores, fake_scores: fake_scores - real_scores,
    generator=lambda fake_scores: -fake_scores,
)


def gradient_penalty(
    critic: Callable[[Array], Array], images: Array, fakes: Array, key: Array
) -> Array:
    """How far the critic's slope is from 1, between each real image and a fake.

        (‖∇ critic(x)‖ − 1)²,   x = ε · image + (1 − ε) · fake,   ε ~ U[0, 1] for each pair

    The norm is over all values of one image. The penalty can be differentiated in the critic's
    parameters, also where a gradient is exactly 0.

    Args:
      critic: images [B, ...] -> scores [B]; each score depends on its own image alone, so no
        BatchNorm.
      images: [B, ...].
      fakes: the same shape.
      key: consumed by ε.

    Returns:
      [B], ≥ 0.

    References:
      Gulrajani et al., Improved Training of Wasserstein GANs, arXiv:1704.00028.
    """
    epsilon = jax.random.uniform(key, (len(images),) + (1,) * (images.ndim - 1), images.dtype)
    between = epsilon * images + (1 - epsilon) * fakes
    # No score depends on another image, so the gradient of their sum is that of each.
    gradients = jax.grad(lambda x: jnp.sum(critic(x)))(between)
    squares = jnp.sum(gradients.reshape(len(images), -1) ** 2, axis=1)
    flat = squares == 0  # where the root has no derivative: its gradient is taken to be 0
    norms = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squares)))
    return (norms - 1) ** 2
