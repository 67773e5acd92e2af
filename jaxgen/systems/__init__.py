"""The named systems, one function each: published hyper-parameters in, Learner out.

Every hyper-parameter is a keyword argument, and every keyword argument a flag of the system's
script; the text under `Args` is what `--help` prints.
"""

from jaxgen.systems.adversarial_networks import (
    dcgan_flowers,
    dcgan_mnist,
    wgan_gp_mnist,
    wgan_mnist,
)
from jaxgen.systems.convolutional_vaes import vae_animals, vae_flowers
from jaxgen.systems.dense_vaes import (
    autoencoder_mnist,
    cvae_mnist,
    vae_batchnorm_mnist,
    vae_binarized_mnist,
    vae_mnist,
)
from jaxgen.systems.importance_weighted_vae import iwae_mnist

__all__ = [
    "autoencoder_mnist",
    "cvae_mnist",
    "dcgan_flowers",
    "dcgan_mnist",
    "iwae_mnist",
    "vae_animals",
    "vae_batchnorm_mnist",
    "vae_binarized_mnist",
    "vae_flowers",
    "vae_mnist",
    "wgan_gp_mnist",
    "wgan_mnist",
]
