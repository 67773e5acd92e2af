"""`jaxgen train SYSTEM ...`."""

import dataclasses
from typing import Any, Literal

import tyro

from jaxgen._published import PUBLISHED

Name: Any = Literal[tuple(PUBLISHED)]  # pyright: ignore[reportInvalidTypeForm]


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a named system and draws its pictures; the same command resumes.

    `jaxgen train SYSTEM --help` lists the flags of the system.

    Attributes:
      system: what to train.
    """

    system: tyro.conf.Positional[Name]  # pyright: ignore[reportInvalidTypeForm]

    def run(self, flags: list[str]) -> None:
        """Trains, and draws as it goes.

        Args:
          flags: the words of the command line after the system's name.
        """
        from jaxgen import runs, systems

        published = PUBLISHED[self.system]
        with runs.start(
            getattr(systems, self.system),
            num_epochs=published.num_epochs,
            dataset=published.dataset,
            args=flags,
            prog=f"jaxgen train {self.system}",
        ) as run:
            pictures = runs.standard_pictures(run)
            for state in run.epochs(pictures.every, pictures.watch):
                pictures.draw_epoch(state)
            pictures.draw_run()
