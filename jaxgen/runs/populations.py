"""`fit_population`: many seeds and hyperparameters trained as one program, each in its own folder.

WORKDIR/
  members/NAME/      an ordinary workdir: config.json, metrics.jsonl, checkpoints/, report.html
  population.json    the members, mean and standard deviation of their last metrics
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import _checks
from jaxgen._files import expanded, writing
from jaxgen.data import is_streamed
from jaxgen.errors import UserError
from jaxgen.learners import population
from jaxgen.runs._population_members import Member
from jaxgen.runs._population_training import Training
from jaxgen.runs.loading import TrainedRun, load
from jaxgen.runs.opening import MAX_SEED, check_fit, configuration, count_examples
from jaxgen.runs.population_tables import SUMMARY
from jaxgen.runs.workdir import Workdir
from jaxgen.types import Dataset, Learner


def fit_population(
    learner_of: Callable[..., Learner],
    dataset: Dataset,
    *,
    num_epochs: int,
    workdir: str | os.PathLike[str],
    seeds: Sequence[int],
    hyperparameters: Mapping[str, Sequence[float]] | None = None,
    fixed: Mapping[str, Any] | None = None,
    system: str | None = None,
    num_examples: int | None = None,
    origin: Mapping[str, Any] | None = None,
    following: Sequence[str] = (),
    overwrite: bool = False,
) -> list[TrainedRun]:
    """Trains every point of the hyperparameters with every seed, all in one program.

    A member has the keys of a run with its seed: its metrics are those of that run alone, up to
    rounding. Every epoch is recorded and saved; called again with the same arguments, the members
    continue after the last epoch that all of them have. A member whose metrics are not finite after
    an epoch is kept as it was before it, named, and never changes the others. Members have the
    page of a run, but neither pictures nor events for TensorBoard.

    Args:
      learner_of: (**numbers, **fixed) -> learner; its numbers may be traced, as those of `systems`.
      dataset: from `data.load` or `data.from_arrays`.
      num_epochs: passes over the training images, in all.
      workdir: the folder; each member has an ordinary workdir below members/.
      seeds: of the members; each 0 to 2**32 - 1.
      hyperparameters: name -> one number for each point, all equally long.
      fixed: keyword arguments that all members share.
      system: the name in `systems` of `learner_of`, so that every command can open the members.
      num_examples: train on the first so many images; None for all.
      origin: what config.json is to record of where the data come from, such as {"data_dir": ...}.
      following: hyperparameters that follow from num_epochs and may change with it.
      overwrite: delete earlier members first.

    Returns:
      The members, point after point and seed after seed; those that diverged before their first
      epoch are left out and named.

    Raises:
      UserError: the arguments do not fit together, or a folder cannot be used.
    """
    _check(dataset, num_epochs, seeds)
    points = _points(hyperparameters or {})
    chosen = list(product(points, seeds))
    numbers = {name: np.array([point[name] for point, _ in chosen]) for name in points[0]}
    members = population(
        lambda **given: learner_of(**given, **(fixed or {})), numbers, num_members=len(chosen)
    )
    check_fit(members.learner, dataset)
    count = count_examples(dataset, num_examples)
    folder = expanded(workdir)
    with ExitStack() as stack:
        opened = []
        for point, seed in chosen:
            config = configuration(
                members.learner,
                dataset,
                num_epochs=num_epochs,
                num_examples=count,
                seed=seed,
                system=system,
                hyperparameters={**(fixed or {}), **point},
                origin=origin,
            )
            place = folder / "members" / _name(point, seed)
            opened.append(Member(Workdir(place, config, overwrite, following), point))
            stack.callback(opened[-1].close)
        Training(members, opened, dataset, count).run(num_epochs)
    _summarize(folder, points, opened)
    found = []
    for member in opened:
        if member.history:
            own = None if system else learner_of(**member.point, **(fixed or {}))
            found.append(load(member.path, learner=own))
            vars(found[-1])["dataset"] = dataset  # it need not be loaded
    return found


def _check(dataset: Dataset, num_epochs: int, seeds: Sequence[int]) -> None:
    _checks.whole_number("--num-epochs", num_epochs)
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"expected different seeds, at least one, got {list(seeds)}")
    for seed in seeds:
        _checks.whole_number("--seed", seed, 0, MAX_SEED)
    if is_streamed(dataset):
        raise UserError(
            f"expected {dataset.name} in memory to train a population, got it streamed: make it "
            "smaller (--resolution), or train one run after another"
        )


def _points(hyperparameters: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    lengths = {name: len(values) for name, values in hyperparameters.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"expected one number for each point, got {found}: make them equally long")
    rows = zip(*hyperparameters.values(), strict=True) if hyperparameters else [()]
    points = [dict(zip(hyperparameters, map(float, row), strict=True)) for row in rows]
    if len({tuple(point.items()) for point in points}) < len(points):
        raise UserError("expected different points of the hyperparameters, got one twice")
    return points


def _name(point: Mapping[str, float], seed: int) -> str:
    return "_".join([*(f"{name}-{value!r}" for name, value in point.items()), f"seed-{seed}"])


def _summarize(folder: Path, points: Sequence[dict[str, float]], opened: Sequence[Member]) -> None:
    entries = []
    for point in points:
        members = [member for member in opened if member.point == point]
        last = [m.history[-1] for m in members if m.history and m.diverged_in is None]
        metrics = [metric for metric in (last[0] if last else {}) if "/" in metric]
        entries.append(
            {
                "point": point,
                "members": [member.path.name for member in members],
                "diverged": [m.path.name for m in members if m.diverged_in is not None],
                "mean": {m: float(np.mean([r[m] for r in last])) for m in metrics},
                "sd": {
                    m: float(np.std([r[m] for r in last], ddof=1)) if len(last) > 1 else None
                    for m in metrics
                },
            }
        )
    with writing(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(entries, indent=2, allow_nan=False) + "\n")
