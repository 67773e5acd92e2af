"""The mathematics of the models: what a network's output means, and what training minimizes."""

from jaxgen.models.gans import gan, wgan
from jaxgen.models.hierarchical import Hierarchy, hierarchical_vae
from jaxgen.models.variational import autoencoder, vae

__all__ = ["Hierarchy", "autoencoder", "gan", "hierarchical_vae", "vae", "wgan"]
