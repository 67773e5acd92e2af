"""Which models have a density, and which of these a log-likelihood."""

from jaxgen.errors import UserError
from jaxgen.types import Density, Learner


def density_of(learner: Learner) -> Density:
    """The density of a learner's model, normalized or not.

    Raises:
      UserError: where the model has none.
    """
    if learner.density is None:
        raise UserError(
            "expected a model with a density, got one without (GANs and plain autoencoders have "
            "none): evaluate its samples instead"
        )
    return learner.density


def normalized_density_of(learner: Learner) -> Density:
    """The density of a learner's model, in nats of log-likelihood.

    Raises:
      UserError: where the model has none, or log p(x|z) is no log-likelihood.
    """
    density = density_of(learner)
    if density.unnormalized is not None:
        raise UserError(
            f"this model has no log-likelihood ({density.unnormalized}): binarize the images, "
            "choose a normalized likelihood, or ask for the bound as a score (score=True)"
        )
    return density


def check_score(learner: Learner, score: bool) -> Density:
    """The density; an unnormalized one only where a score was asked for.

    Raises:
      UserError: as `normalized_density_of`.
    """
    return density_of(learner) if score else normalized_density_of(learner)
