"""Evaluates what a run has learned, and writes it into the folder of the run."""

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxgen import data, evaluation
from jaxgen._files import one_line_errors, replacing
from jaxgen.learners import with_averaged_generator
from jaxgen.runs.keys import purpose_key
from jaxgen.runs.loading import TrainedRun
from jaxgen.types import Dataset, Split
from jaxgen.visualization import grids

PARTIAL = "evaluation-partial.npz"
MAX_STREAMED = 10_000  # training images that samples are compared with, where they are streamed


def evaluate_run(
    run: TrainedRun,
    *,
    num_samples: int = 5000,
    num_images: int | None = None,
    split: str = "test",
    score: bool = False,
    features: str = "auto",
) -> dict[str, Any]:
    """Evaluates a run and writes evaluation.json and images/nearest.png into its folder.

    An interrupted evaluation continues where it stopped. Random choices derive from the run's
    seed; samples are compared with the first 10,000 training images where these are streamed; a
    generator of which the run keeps a moving average is evaluated as that average.

    Args:
      run: from `load` or `fit`.
      num_samples: K of the likelihood.
      num_images: evaluate on the first so many images of the split; None for all.
      split: of the run's data.
      score: give the bound of a model without a log-likelihood, as a score.
      features: which network samples are compared with: see `evaluation.chosen_network`.

    Returns:
      What evaluation.json contains: see `evaluation.Evaluation`, with "system", "dataset", "seed"
      and "epoch".

    Raises:
      UserError: as `evaluation.evaluate`, or the folder cannot be written.
    """
    key = purpose_key(run.config["seed"], "evaluation")
    averaged = bool(getattr(run.state, "ema", None))
    state = with_averaged_generator(run.state) if averaged else run.state
    partial = run.workdir / PARTIAL
    remedy = "make room there, or allow writing"
    streamed = data.is_streamed(run.dataset)
    seen = data.first_in_memory(_trained_on(run.dataset, run.config["num_examples"]), MAX_STREAMED)
    with _Bars() as bars, one_line_errors("write to", run.workdir, remedy):
        result = evaluation.evaluate(
            run.learner,
            state,
            seen,
            key,
            num_samples=num_samples,
            num_images=num_images,
            split=split,
            network=evaluation.chosen_network(features, run.dataset),
            score=score,
            partial=partial,
            progress=bars.show,
        )
        report = {
            "system": run.config["system"],
            "dataset": run.dataset.name,
            "seed": run.config["seed"],
            "epoch": len(run.history),
            **({"generator": "moving average"} if averaged else {}),
            **({"training_images_compared": len(seen.train.images)} if streamed else {}),
            **result.report,
        }
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        with replacing(run.workdir / "evaluation.json") as temporary:
            temporary.write_text(text)
        grids.save(
            run.workdir / "images" / "nearest.png", grids.pairs(result.samples, result.neighbours)
        )
        partial.unlink(missing_ok=True)
    return report


def read_evaluation(workdir: Path) -> dict[str, Any] | None:
    """What evaluation.json contains; None where there is none."""
    path = workdir / "evaluation.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _trained_on(dataset: Dataset, num_examples: int | None) -> Dataset:
    """The data set with the training images that the run has seen."""
    images, labels = dataset.train
    seen = Split(images[:num_examples], None if labels is None else labels[:num_examples])
    return dataset._replace(splits={**dataset.splits, "train": seen})


class _Bars:
    """One progress bar for each long part of an evaluation, on a terminal alone."""

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, part: str, done: int, total: int) -> None:
        """Moves the bar of a part."""
        if self._bar is None or self._bar.desc != f"{part}: ":
            self._close()
            self._bar = tqdm(total=total, desc=part, unit="image", disable=None)
            self._bar.desc = f"{part}: "
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
