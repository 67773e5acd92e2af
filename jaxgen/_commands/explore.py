"""`jaxgen explore WORKDIR`."""

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class Explore:
    """Writes a page that walks through the latent space of a run; the decoder is part of it.

    Attributes:
      workdir: the folder of the run.
      output: where the page goes (default: explore.html in the folder of the run).
      which: the checkpoint: last, best (of a run with --keep-best) or the number of a step.
      seed: of the samples that stand for images where there is no encoder.
      nearest: whether the page finds the training images nearest to a picture.
    """

    workdir: tyro.conf.Positional[Path]
    output: Path | None = None
    which: str = "last"
    seed: int = 0
    nearest: bool = True

    def run(self) -> None:
        """Writes the page."""
        import jax

        from jaxgen import runs
        from jaxgen._commands.pages import write_page
        from jaxgen.data import first_in_memory
        from jaxgen.runs.evaluating import MAX_STREAMED
        from jaxgen.visualization.explorations import explore
        from jaxgen.visualization.explorer import explorer_page

        run = runs.load(self.workdir, self.which)
        data = first_in_memory(run.dataset, MAX_STREAMED)
        learned = f"{run.config['system'] or run.workdir.name} on {data.name}"
        exploration = explore(
            run.learner,
            run.state,
            data.test.images,
            data.test.labels,
            jax.random.key(self.seed),
            title=f"Latent space of {learned}",
            facts={"epochs": str(len(run.history)), "data": data.name},
            training_images=data.train.images if self.nearest else None,
        )
        write_page(self.output or run.workdir / "explore.html", explorer_page(exploration))
