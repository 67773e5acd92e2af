"""`jaxgen sample WORKDIR`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draws images from what a run has learned.

    Attributes:
      workdir: the folder of the run.
      output: a grid (.png), arrays (.npz), or a folder of pictures.
      num_samples: how many images to draw, or the steps of an interpolation.
      seed: of the latents.
      label: class of the images, for a conditional system (default: one after another).
      like: a picture of which to draw variations: decoded draws from its posterior (VAEs).
      interpolate: two pictures (VAEs) or two seeds (GANs) to walk between.
      which: the checkpoint: last, best (of a run with --keep-best) or the number of a step.
      raw: sample the generator itself where the run keeps a moving average of it.
    """

    workdir: tyro.conf.Positional[Path]
    output: Path = Path("samples.png")
    num_samples: int = 64
    seed: int = 0
    label: int | None = None
    like: Path | None = None
    interpolate: Annotated[tuple[str, str] | None, tyro.conf.arg(metavar="A B")] = None
    which: str = "last"
    raw: bool = False

    def run(self) -> None:
        """Draws and writes."""
        from jaxgen import runs
        from jaxgen._commands import sampling

        sampling.check_output(self.output)
        run = runs.load(self.workdir, self.which)
        images = sampling.images(
            run,
            num_samples=self.num_samples,
            seed=self.seed,
            label=self.label,
            like=self.like,
            interpolate=self.interpolate,
            raw=self.raw,
        )
        sampling.write(self.output, images)
        print(f"{len(images)} images are in {self.output}")
