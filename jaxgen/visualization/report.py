"""The page of a run: `report_page`. One file, which also reads without JavaScript."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxgen.visualization._pages import page, text
from jaxgen.visualization._report_parts import (
    Chart,
    Figure,
    chart_data,
    charts,
    figure,
    section,
    short,
    spread,
    table,
)
from jaxgen.visualization._report_pictures import (
    MAX_PER_SERIES,
    Series,
    animations,
    series_that_fit,
    stills,
)

__all__ = [
    "MAX_PER_SERIES",
    "Figure",
    "Reference",
    "Report",
    "Series",
    "metric_charts",
    "report_page",
    "spread",
]

MAX_ROWS = 60
ROUNDING = 1e-6  # relative, of metrics that are constant
SCRIPTS, STYLES = ("uPlot.iife.min.js", "report.js"), ("uPlot.min.css", "report.css")


class Reference(NamedTuple):
    """A published number.

    Attributes:
      metric: as in the records, like "train/loss".
      value: the number.
      epoch: after which it was reached.
      source: who reports it.
    """

    metric: str
    value: float
    epoch: int
    source: str


class Report(NamedTuple):
    """What the page of a run shows.

    Attributes:
      title: of the page.
      status: how far the run is, one sentence.
      description: what the system is.
      equation: what is optimized.
      facts: data, seed and so on: name -> value.
      history: one record per epoch, as in metrics.jsonl.
      units: metric without its split -> unit.
      configuration: name -> value.
      published: the published configuration, or {} where there is none.
      references: published numbers.
      series: pictures made after epochs, by name.
      figures: pictures of the whole run.
      data_figure: a row of training images, or None.
      evaluation: what was evaluated: name -> value, nested.
      versions: of the software.
      command: what repeats the run, or None.
    """

    title: str
    status: str
    description: str
    equation: str
    facts: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    units: Mapping[str, str]
    configuration: Mapping[str, Any]
    published: Mapping[str, Any]
    references: Sequence[Reference]
    series: Mapping[str, Series]
    figures: Sequence[Figure]
    data_figure: Figure | None
    evaluation: Mapping[str, Any]
    versions: Mapping[str, Any]
    command: str | None


def report_page(report: Report) -> str:
    """The page as one HTML file that needs neither network nor server."""
    drawn = metric_charts(report.history, report.units)
    series = series_that_fit(report.series, sum(len(shown.content) for shown in report.figures))
    body = "\n".join(
        [
            f"<header><h1>{text(report.title)}</h1>"
            f'<p class="status">{text(report.status)}</p></header><main>',
            section(
                "what",
                "What was run",
                f"<p>{text(report.description)}</p>" if report.description else "",
                f"<pre>{text(report.equation)}</pre>" if report.equation else "",
                table((), report.facts.items(), "Facts"),
                figure(report.data_figure) if report.data_figure else "",
            ),
            section("results", "Results", _results(report), _published_numbers(report)),
            section("curves-heading", "Curves", charts(drawn), wide=True),
            section("pictures", "Pictures by epoch", series, wide=True),
            section("animation", "Animation", animations(report.figures), wide=True),
            section("figures", "Figures", stills(report.figures), wide=True),
            section("evaluation", "Evaluation", _evaluation(report.evaluation)),
            section("configuration", "Configuration", _configuration(report)),
            section("repeat", "Repeat this run", _command(report.command)),
            section("versions", "Versions", _versions(report.versions)),
            section("epochs", "All epochs", _epochs(report.history), wide=True),
            "</main>",
        ]
    )
    data = {"curves": chart_data(drawn)} if drawn else {}
    return page(report.title, body, styles=STYLES, scripts=SCRIPTS, data=data)


def metric_charts(
    history: Sequence[Mapping[str, Any]], units: Mapping[str, str] | None = None
) -> list[Chart]:
    """A chart for each metric of the records that changes; train and test are its curves."""
    names = {}
    for record in history:
        for name in record:
            split, _, metric = name.partition("/")
            if metric:
                names.setdefault(metric, {}).setdefault(split, None)
    epochs = [record["epoch"] for record in history]
    found = []
    for metric, splits in names.items():
        series = {
            split: [record.get(f"{split}/{metric}") for record in history] for split in splits
        }
        if len(history) == 1 or _changes([v for values in series.values() for v in values]):
            found.append(Chart(metric, epochs, series, y_label=(units or {}).get(metric, "")))
    return found


def _changes(values: Sequence[float | None]) -> bool:
    """Whether values differ by more than the rounding of float32."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values):
        return True
    return max(known) - min(known) > ROUNDING * max(map(abs, known))


def _results(report: Report) -> str:
    if not report.history:
        return "<p>No epoch is finished yet.</p>"
    last = report.history[-1]
    metrics: dict[str, dict[str, Any]] = {}
    for name, value in last.items():
        split, _, metric = name.partition("/")
        if metric:
            metrics.setdefault(metric, {})[split] = value
    splits = list(dict.fromkeys(split for of_metric in metrics.values() for split in of_metric))
    rows = []
    for metric, values in metrics.items():
        unit = report.units.get(metric)
        named = f"{metric} ({unit})" if unit else metric
        rows.append([named, *(values.get(split, "") for split in splits)])
    return table(("metric", *splits), rows, f"After epoch {last['epoch']}")


def _published_numbers(report: Report) -> str:
    """Published numbers, each beside this run's after the same epoch, where it got there."""
    if not report.references:
        return ""
    own = {record["epoch"]: record for record in report.history}
    rows = [
        [f"{metric} after epoch {epoch}", value, own.get(epoch, {}).get(metric, ""), source]
        for metric, value, epoch, source in report.references
    ]
    return table(("metric", "published", "this run", "source"), rows, "Published numbers")


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    rows = list(_flattened(evaluation))
    return table((), rows, "Measures") if rows else ""


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", value


def _configuration(report: Report) -> str:
    if not report.published:
        return table(("name", "this run"), report.configuration.items(), "Configuration")
    rows = []
    for name, value in report.configuration.items():
        published = report.published.get(name, "")
        known = name in report.published
        differs = known and short(published) != short(value)
        rows.append((name, value, published if known else "", "differs" if differs else ""))
    return table(("name", "this run", "published", ""), rows, "Configuration")


def _command(command: str | None) -> str:
    return f"<pre>{text(command)}</pre>" if command else ""


def _versions(versions: Mapping[str, Any]) -> str:
    return table((), versions.items(), "Software") if versions else ""


def _epochs(history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return ""
    chosen = [history[n] for n in spread(len(history), MAX_ROWS)]
    names = [name for name in chosen[-1] if name != "epoch"]
    rows = [[record["epoch"], *(record.get(name, "") for name in names)] for record in chosen]
    note = ""
    if len(chosen) < len(history):
        note = f"<p>{len(chosen)} of the {len(history)} epochs, evenly spread over the run.</p>"
    listing = table(("epoch", *names), rows, "Metrics by epoch")
    return f"<details><summary>Table of all metrics</summary>{note}{listing}</details>"
