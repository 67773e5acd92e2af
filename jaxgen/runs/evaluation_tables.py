"""Evaluations as tables: of one run, and of many runs grouped by configuration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.runs.workdir import FREE_FIELDS

# Column -> where its value is in evaluation.json.
COLUMNS: dict[str, tuple[str | int, ...]] = {
    "log p(x)": ("likelihood", "log_likelihood"),
    "score": ("likelihood", "score"),
    "ELBO": ("likelihood", "elbo"),
    "bits/dim": ("likelihood", "bits_per_dimension"),
    "active units": ("latents", "active_units"),
    "active units, z₁": ("latents", "active_units_of_layers", 0),
    "active units, z₂": ("latents", "active_units_of_layers", 1),
    "Fréchet": ("sample_quality", "samples", "frechet_distance"),
    "kernel": ("sample_quality", "samples", "kernel_distance"),
    "precision": ("sample_quality", "samples", "precision"),
    "recall": ("sample_quality", "samples", "recall"),
    "density": ("sample_quality", "samples", "density"),
    "coverage": ("sample_quality", "samples", "coverage"),
    "classifier score": ("sample_quality", "samples", "classifier_score"),
    "class histogram": ("sample_quality", "samples", "class_histogram_distance"),
    "nearest training image": ("sample_quality", "samples", "nearest_training_distance"),
}


def table_of_run(report: Mapping[str, Any]) -> str:
    """The measures of one run: value, and floor or error beside it."""
    lines = [
        f"{report['system']} on {report['dataset']}, {report['split']}, epoch {report['epoch']}"
    ]
    likelihood = report["likelihood"] or {}
    for column, path in COLUMNS.items():
        value = _value(report, path)
        if value is None:
            continue
        beside = ""
        if column in ("log p(x)", "score") and likelihood["standard_error"] is not None:
            beside = f"± {likelihood['standard_error']:.2f} (standard error over images), "
            beside += f"{likelihood['num_samples']} samples, {likelihood['unit']}"
        elif path[0] == "sample_quality":
            beside = f"floor {_number(_value(report, ('sample_quality', 'floor', path[-1])))}"
        lines.append(f"  {column:<24}{_number(value):>10}  {beside}".rstrip())
    quality = report["sample_quality"]
    lines.append(
        f"  features: {quality['feature_network']}, {quality['num_samples']} samples against "
        f"{quality['num_reference']} images"
    )
    return "\n".join(lines + [f"  note: {note}" for note in report["notes"]])


def table_of_runs(
    configs: Sequence[Mapping[str, Any]], reports: Sequence[Mapping[str, Any]]
) -> str:
    """One row for each configuration: mean ± standard deviation over its runs, none left out."""
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault(_configuration(config), []).append(i)
    columns = [
        c for c, path in COLUMNS.items() if any(_value(r, path) is not None for r in reports)
    ]
    rows = [["configuration", "runs", *columns]]
    differing = _differing_fields(configs)
    for members in groups.values():
        first = configs[members[0]]
        name = ", ".join([f"{first['system']}", *(f"{f}={first.get(f)}" for f in differing)])
        cells = [_mean([_value(reports[i], COLUMNS[c]) for i in members]) for c in columns]
        rows.append([name, str(len(members)), *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _configuration(config: Mapping[str, Any]) -> str:
    """Equal for runs that differ in nothing but their seed and where they ran."""
    return repr(sorted((k, repr(v)) for k, v in config.items() if k not in _ignored()))


def _ignored() -> set[str]:
    return ({"seed"} | set(FREE_FIELDS)) - {"num_epochs", "dataset", "init_from"}


def _differing_fields(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fields that tell configurations apart, but for the system, which is named anyway."""
    names = {name for config in configs for name in config} - _ignored() - {"system"}
    return sorted(n for n in names if len({repr(config.get(n)) for config in configs}) > 1)


def _mean(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation; a dash where a run has no value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = float(np.mean(known))
    if len(known) == 1:
        return _number(mean)
    return f"{_number(mean)} ± {_number(float(np.std(known, ddof=1)))}"


def _value(report: Mapping[str, Any], path: tuple[str | int, ...]) -> float | None:
    value: Any = report
    for name in path:
        if isinstance(name, int):
            value = None if value is None else value[name]
        else:
            value = None if value is None else value.get(name)
    return value


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    digits = 2 if value == 0 or math.log10(abs(value)) >= 0 else 3
    return f"{value:.{digits}f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
