"""From the command line to a population of a named system: `train_population`."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import _checks
from jaxgen._files import printable
from jaxgen._published import PUBLISHED
from jaxgen.errors import UserError
from jaxgen.runs import console, flags
from jaxgen.runs.devices import provide_one_for_each_core
from jaxgen.runs.evaluating import evaluate_run
from jaxgen.runs.evaluation_tables import table_of_runs
from jaxgen.runs.loading import TrainedRun
from jaxgen.runs.opening import MAX_SEED
from jaxgen.runs.population_tables import draw_curves, members_of, table_of_members
from jaxgen.runs.populations import fit_population
from jaxgen.runs.processes import Place
from jaxgen.runs.starting import prepare
from jaxgen.types import Learner

# Flags of a single run.
WITHOUT = ("init_from", "pictures", "checkpoint_every", "keep", "keep_best", "on_nonfinite")
WITHOUT += ("stream", "fast_fingerprint", "devices", "validation_fraction", *Place._fields)


class TrainedPopulation(NamedTuple):
    """What a population has learned.

    Attributes:
      workdir: its folder.
      points: the values of the swept hyperparameters.
      members: the runs, point after point and seed after seed, but for those that diverged before
        their first epoch.
    """

    workdir: Path
    points: list[dict[str, float]]
    members: list[TrainedRun]

    def of_point(self, point: Mapping[str, float]) -> list[TrainedRun]:
        """The members with these hyperparameters."""
        return members_of(point, self.members)


def train_population(
    system: Callable[..., Learner],
    *,
    num_seeds: int = 4,
    swept: Mapping[str, Sequence[float]] | None = None,
    num_epochs: int | None = None,
    args: Sequence[str] | None = None,
    prog: str | None = None,
) -> TrainedPopulation:
    """Reads the command line, trains all members as one program, draws curves and prints a table.

    The members are spread over the devices: on a CPU one is made for each core.

    Args:
      system: a function of `systems`.
      num_seeds: default of --num-seeds; the seeds are --seed and the numbers after it.
      swept: hyperparameter -> default values, for a flag whose name has an "s" more. Every value is
        trained with every other and with every seed.
      num_epochs: default of --num-epochs; None for the published number.
      args: the words of the command line; None for those the process was started with.
      prog: how the command is called in --help.

    Returns:
      The members, trained.

    Raises:
      UserError: what the user asked for cannot be had; the message says why and what to do.
    """
    swept = dict(swept or {})
    published = PUBLISHED[system.__name__]
    extra: dict[str, Any] = {
        "num_seeds": (int, num_seeds, "how many seeds, from --seed on"),
        **{
            f"{name}s": (tuple[float, ...], tuple(values), f"values of {name}")
            for name, values in swept.items()
        },
    }
    asked = flags.parse(
        system,
        num_epochs=num_epochs or published.num_epochs,
        dataset=published.dataset,
        args=args,
        prog=prog,
        extra=extra,
        without=(*WITHOUT, *swept),
    )
    _checks.whole_number("--num-seeds", asked.extra["num_seeds"])
    _checks.whole_number("--seed", asked.seed, 0, MAX_SEED + 1 - asked.extra["num_seeds"])
    points = _points({name: asked.extra[f"{name}s"] for name in swept})
    provide_one_for_each_core()
    parts = prepare(asked, system)
    seeds = range(asked.seed, asked.seed + asked.extra["num_seeds"])
    console.say(
        f"{system.__name__} on {parts.dataset.name}: {len(points) * len(seeds)} members "
        f"({len(points)} points x {len(seeds)} seeds), into {printable(asked.workdir)}"
    )
    members = fit_population(
        system,
        parts.dataset,
        num_epochs=asked.num_epochs,
        workdir=asked.workdir,
        seeds=seeds,
        hyperparameters={name: [point[name] for point in points] for name in swept},
        fixed={k: v for k, v in parts.hyperparameters.items() if k not in swept},
        system=system.__name__,
        num_examples=asked.num_examples,
        origin=parts.origin,
        following=parts.following,
        overwrite=asked.overwrite,
    )
    trained = TrainedPopulation(asked.workdir, points, members)
    draw_curves(asked.workdir, f"{system.__name__} on {parts.dataset.name}", points, members)
    console.say(table_of_members(asked.workdir))
    if asked.settings.evaluate:
        reports = [evaluate_run(member) for member in members]
        console.say(table_of_runs([member.config for member in members], reports))
    console.say(f"results are in {printable(asked.workdir)}")
    return trained


def _points(swept: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    for name, values in swept.items():
        if not values:
            raise UserError(f"expected at least one value for --{name}s, got none: pass some")
    return [dict(zip(swept, values, strict=True)) for values in product(*swept.values())]
