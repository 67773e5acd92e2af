"""The standard pictures of a run, chosen by what its learner can do."""

from typing import Protocol

from jaxgen.runs.gan_pictures import COLLAGE, GANPictures
from jaxgen.runs.loop import Run
from jaxgen.runs.training import Watch
from jaxgen.runs.vae_pictures import VAEPictures
from jaxgen.types import PyTree

STEPS_BETWEEN_LOOKS = 25


class Pictures(Protocol):
    """What draws a run.

    Attributes:
      every: steps between two looks within an epoch; None for none.
    """

    every: int | None

    @property
    def watch(self) -> Watch | None:
        """See `Run.epochs`."""

    def draw_epoch(self, state: PyTree) -> None:
        """Draws what there is to see after each epoch."""

    def draw_run(self) -> None:
        """Draws what there is to see in the end."""


def standard_pictures(run: Run) -> Pictures:
    """Those of a VAE where the learner reconstructs images, else those of a GAN."""
    if run.learner.reconstruct is not None:
        return VAEPictures(run)
    return GANPictures(run, STEPS_BETWEEN_LOOKS if run.num_epochs < COLLAGE else None)
