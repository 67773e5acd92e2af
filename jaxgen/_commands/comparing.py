"""What the page of several runs compares."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs.reports import report_of
from jaxgen.visualization import grids
from jaxgen.visualization._pages import png
from jaxgen.visualization.comparison import Compared, comparison_page
from jaxgen.visualization.explorations import decode_all
from jaxgen.visualization.report import Figure

NUM_SAMPLES = 32
COLUMNS = 8


def comparison(folders: Sequence[Path]) -> str:
    """The page that compares the runs in several folders.

    Raises:
      UserError: a folder holds no run.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    compared, units = [], {}
    for name, folder in zip(names, folders, strict=True):
        report = report_of(folder)
        units |= report.units
        samples, latent_size = _samples(name, folder)
        configuration = dict(report.facts) | dict(report.configuration)
        compared.append(Compared(name, configuration, report.history, samples, latent_size))
    return comparison_page(compared, units)


def _samples(name: str, folder: Path) -> tuple[Figure | None, int]:
    """Images of latents that depend on their size alone; none of a run that cannot be opened."""
    try:
        run = runs.load(folder)
    except UserError:
        return None, 0
    learner = run.learner
    if learner.decode is None:
        return None, 0
    latents = np.asarray(jax.random.normal(jax.random.key(0), (NUM_SAMPLES, learner.latent_size)))
    labels = np.arange(NUM_SAMPLES) % learner.num_classes if learner.num_classes else None
    images = decode_all(learner, run.state, latents, labels)
    return Figure(f"samples of {name}", png(grids.grid(images, COLUMNS))), learner.latent_size
