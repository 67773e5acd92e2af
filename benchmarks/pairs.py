"""The seven source systems and their PyTorch twins at matching sizes: small ones, for tests.

Each has the keys and the kinds of layers that the published sizes have. Importing needs no PyTorch.
"""

from typing import Any, NamedTuple

from jaxgen import systems
from jaxgen.types import Learner


class Sizes(NamedTuple):
    """One choice of sizes, as arguments of each library.

    Attributes:
      jaxgen: keyword arguments of the system.
      twin: keyword arguments of the twin's `networks`.
      image_shape: (H, W, C).
      latent_size: D.
    """

    jaxgen: dict[str, Any]
    twin: dict[str, Any]
    image_shape: tuple[int, int, int] = (28, 28, 1)
    latent_size: int = 4


SMALL = {
    "vae_mnist": Sizes(
        {"hidden_sizes": (16,), "latent_size": 4, "image_shape": (8, 8, 1)},
        {"hidden_size": 16, "latent_size": 4, "image_shape": (1, 8, 8)},
        (8, 8, 1),
    ),
    "vae_binarized_mnist": Sizes(
        {"hidden_sizes": (16, 16), "latent_size": 4, "image_shape": (8, 8, 1)},
        {"hidden_size": 16, "latent_size": 4, "image_shape": (1, 8, 8)},
        (8, 8, 1),
    ),
    "vae_batchnorm_mnist": Sizes(
        {"hidden_sizes": (16, 12, 8), "latent_size": 4, "image_shape": (8, 8, 1)},
        {"hidden_sizes": (16, 12, 8), "latent_size": 4, "image_shape": (1, 8, 8)},
        (8, 8, 1),
    ),
    "dcgan_mnist": Sizes(
        {"generator_features": (8, 6, 4, 4), "critic_features": (4, 6, 8), "latent_size": 4},
        {"generator_channels": (8, 6, 4, 4), "critic_channels": (4, 6, 8), "latent_size": 4},
    ),
    "wgan_mnist": Sizes(
        {
            "generator_sizes": (8, 12, 16),
            "critic_sizes": (8, 12),
            "latent_size": 4,
            "image_shape": (8, 8, 1),
        },
        {
            "generator_sizes": (8, 12, 16),
            "critic_sizes": (8, 12),
            "latent_size": 4,
            "image_shape": (1, 8, 8),
        },
        (8, 8, 1),
    ),
    "vae_flowers": Sizes(
        {"resolution": 16, "channels": (4, 6, 8), "latent_size": 4},
        {"image_shape": (3, 16, 16), "channels": (4, 6, 8), "latent_size": 4},
        (16, 16, 3),
    ),
    "vae_animals": Sizes(
        {"resolution": 16, "channels": (4, 5, 6), "latent_size": 4, "num_samples": 3},
        {"image_shape": (3, 16, 16), "channels": (4, 5, 6), "latent_size": 4, "num_samples": 3},
        (16, 16, 3),
    ),
}

PUBLISHED = {
    "vae_mnist": Sizes({}, {}, latent_size=20),
    "vae_binarized_mnist": Sizes({}, {}, latent_size=20),
    "vae_batchnorm_mnist": Sizes({}, {}, latent_size=32),
    "dcgan_mnist": Sizes({}, {}, latent_size=100),
    "wgan_mnist": Sizes({}, {}, latent_size=100),
    "vae_flowers": Sizes({}, {}, (32, 32, 3), latent_size=10),
    "vae_animals": Sizes({}, {}, (128, 128, 3), latent_size=128),
}
# Systems that count PyTorch's unbiased variances when they are asked to.
BATCH_NORM = ("vae_batchnorm_mnist", "dcgan_mnist", "wgan_mnist")


def learner(name: str, **options: Any) -> Learner:
    """jaxgen's side of a small pair; `options` are keyword arguments of the system."""
    return getattr(systems, name)(**SMALL[name].jaxgen, **options)
