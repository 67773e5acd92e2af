"""What the members of a population have in common: a table, and curves with bands."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxgen.runs.loading import TrainedRun
from jaxgen.runs.reporting import of_split
from jaxgen.visualization import spreads

SUMMARY = "population.json"


def table_of_members(folder: Path) -> str:
    """Mean ± standard deviation of the last held-out metrics of each point, from population.json.

    Members that diverged are counted beside, and are no part of the means.
    """
    entries = json.loads((folder / SUMMARY).read_text())
    metrics = [m for m in next((e["mean"] for e in entries if e["mean"]), {}) if "test/" in m]
    rows = [["point", "members", "diverged", *(m.removeprefix("test/") for m in metrics)]]
    for entry in entries:
        cells = [_cell(entry["mean"].get(m), entry["sd"].get(m)) for m in metrics]
        counts = str(len(entry["members"])), str(len(entry["diverged"]))
        rows.append([point_name(entry["point"]) or "-", *counts, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def draw_curves(
    folder: Path,
    title: str,
    points: Sequence[Mapping[str, float]],
    members: Sequence[TrainedRun],
) -> None:
    """Draws images/METRIC.png: mean and standard deviation over the seeds, over the epochs.

    One point has a band for the training images and one for the held-out ones; several points have
    one for the held-out images each.
    """
    if not members:
        return
    names = of_split(members[0].history[0], "test")
    num_epochs = max(len(member.history) for member in members)
    for name in names:
        series: dict[str, np.ndarray] = {}
        for point in points:
            own = members_of(point, members)
            for split in ("train", "test") if len(points) == 1 else ("test",):
                metric = f"{split}/{name}"
                if own and metric in own[0].history[0]:
                    label = split if len(points) == 1 else point_name(point)
                    series[label] = _over_epochs(own, metric, num_epochs)
        spreads.bands(folder / "images" / f"{name}.png", series, "epoch", name, title)


def members_of(point: Mapping[str, float], members: Sequence[TrainedRun]) -> list[TrainedRun]:
    """Those with the hyperparameters of a point."""
    return [m for m in members if all(m.config[k] == v for k, v in point.items())]


def point_name(point: Mapping[str, float]) -> str:
    """A point as text, like "beta 0.5"."""
    return ", ".join(f"{name} {value:g}" for name, value in point.items())


def _over_epochs(members: Sequence[TrainedRun], metric: str, num_epochs: int) -> np.ndarray:
    """[members, epochs], NaN where a member has diverged."""
    values = np.full((len(members), num_epochs), np.nan)
    for row, member in zip(values, members, strict=True):
        row[: len(member.history)] = [record[metric] for record in member.history]
    return values


def _cell(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.4g}" if deviation is None else f"{mean:.5g} ± {deviation:.2g}"
