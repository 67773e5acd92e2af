"""The mathematics of the models: what a network's output means, and what training minimizes."""

from jaxgen.models.deterministic import autoencoder
from jaxgen.models.gans import gan, wgan
from jaxgen.models.hierarchical import Hierarchy, hierarchical_vae
from jaxgen.models.objectives import Objective
from jaxgen.models.variational import vae

__all__ = ["Hierarchy", "Objective", "autoencoder", "gan", "hierarchical_vae", "vae", "wgan"]
