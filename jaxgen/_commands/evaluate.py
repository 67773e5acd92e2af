"""`jaxgen evaluate WORKDIR...`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures what runs have learned: likelihood, latent space and sample quality.

    Writes evaluation.json and images/nearest.png into each workdir. After Ctrl-C the same command
    continues. Several workdirs of one configuration give mean ± standard deviation; of several
    configurations, one row each.

    Attributes:
      workdirs: folders of finished or interrupted runs.
      which: the checkpoint: last, best (of a run with --keep-best) or the number of a step.
      num_samples: samples per image for the likelihood.
      num_images: evaluate on the first so many images of the split (default: all).
      split: which images to evaluate on.
      score: give the bound of a model without a log-likelihood, as a score.
      features: the network in whose features samples are compared; auto takes the classifier that
        agrees with the labels of the data, random convolutions where there is none.
    """

    workdirs: tyro.conf.Positional[tuple[Path, ...]]
    which: str = "last"
    num_samples: int = 5000
    num_images: int | None = None
    split: str = "test"
    score: bool = False
    features: Literal["auto", "mnist", "fashion_mnist", "random"] = "auto"

    def run(self) -> None:
        """Evaluates one run after another."""
        from jaxgen import runs
        from jaxgen.errors import UserError
        from jaxgen.runs import evaluation_tables

        if not self.workdirs:
            raise UserError("expected the workdir of at least one run, got none: name one")
        opened = [runs.load(workdir, self.which) for workdir in self.workdirs]
        reports = []
        for run in opened:
            report = runs.evaluate_run(
                run,
                num_samples=self.num_samples,
                num_images=self.num_images,
                split=self.split,
                score=self.score,
                features=self.features,
            )
            print(evaluation_tables.table_of_run(report))
            print(f"  written to {run.workdir / 'evaluation.json'}")
            reports.append(report)
        if len(reports) > 1:
            print(evaluation_tables.table_of_runs([run.config for run in opened], reports))
