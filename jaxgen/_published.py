"""How long, and on which data, each named system was published to be trained."""

from typing import NamedTuple


class Published(NamedTuple):
    """The defaults of a run.

    Attributes:
      num_epochs: passes over the training images.
      dataset: what `data.load` is asked for.
    """

    num_epochs: int
    dataset: str = "auto"


FLOWERS = "tfds:oxford_flowers102"

PUBLISHED = {
    "autoencoder_mnist": Published(15),
    "cvae_mnist": Published(15),
    "dcgan_flowers": Published(300, FLOWERS),
    "dcgan_mnist": Published(3),
    "iwae_mnist": Published(80),
    "vae_animals": Published(100, "folder:animals"),
    "vae_batchnorm_mnist": Published(10),
    "vae_binarized_mnist": Published(20),
    "vae_flowers": Published(500, FLOWERS),
    "vae_mnist": Published(15),
    "wgan_gp_mnist": Published(200),
    "wgan_mnist": Published(200),
}
