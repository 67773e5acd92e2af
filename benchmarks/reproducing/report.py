"""The tables of docs/results.md, README.md and the pages of the systems, from the kept records.

A table stands between `<!-- results: NAME -->` and `<!-- end of results -->`.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.reproducing.rows import ROWS, Row

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "docs" / "results.md",
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "systems").glob("*_*.md")),
)
OF_SYSTEM = "of_"  # before the name of a system: the part of its own page
PART = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
BURDA = ("burda_vae", "burda_iwae_50", "burda_iwae_50_two_layers")

NOTHING = "No runs are recorded yet."

Records = Mapping[str, Mapping[str, Any]]


def write(records: Records) -> None:
    """Puts the tables into the pages, and draws the curves."""
    for page in PAGES:
        if page.is_file():
            page.write_text(filled(page.read_text(), records))
    draw_curves(records, ROOT / "docs" / "results.png")


def filled(text: str, records: Records) -> str:
    """The text of a page with every table made anew."""
    return PART.sub(lambda part: f"{part[1]}{_made(part[2], records) or NOTHING}\n{part[3]}", text)


def _made(name: str, records: Records) -> str:
    if not name.startswith(OF_SYSTEM):
        return TABLES[name](records)
    rows = {row.name for row in ROWS if row.system == name.removeprefix(OF_SYSTEM)}
    own = {key: record for key, record in records.items() if record["row"] in rows}
    tables = likelihoods(own, with_published=False), quality(own)
    return "\n\n".join(table for table in tables if table)


# ---- tables


def likelihoods(records: Records, with_published: bool = True) -> str:
    """Bounds and likelihoods, in nats per image, beside published numbers where asked for."""
    header = ("row", "pixels", "seeds", "epochs", "train", "held out", "log p(x)")
    lines = []
    for row, found in _rows(records, "bound", "likelihood"):
        train, test = (_over(found, "metrics", f"{split}/loss") for split in ("train", "test"))
        cells = [row.name, row.binarization, str(len(found)), _epochs(row, found), train, test]
        published = [_published(row)] if with_published else []
        lines.append([*cells, _log_likelihoods(found), *published])
    return _table((*header, *(["published"] if with_published else [])), lines)


def quality(records: Records) -> str:
    """Distances between samples and test images, the floor in brackets."""
    names = ("frechet_distance", "kernel_distance", "precision", "recall")
    header = ("row", "seeds", "epochs", "Fréchet distance", "kernel distance", "precision")
    lines = []
    for row, found in _rows(records, "quality"):
        evaluations = [_evaluation(record)["sample_quality"] for record in found]
        cells = []
        for name in names:
            values = [evaluation["samples"][name] for evaluation in evaluations]
            floors = [evaluation["floor"][name] for evaluation in evaluations]
            cells.append(f"{_spread(values)} ({_mean(floors)})")
        network = evaluations[0]["feature_network"]
        lines.append([row.name, str(len(found)), _epochs(row, found), *cells, network])
    return _table((*header, "recall", "features"), lines)


def costs(records: Records) -> str:
    """The command, time and machine of each row."""
    lines = []
    for row, found in _rows(records, "bound", "likelihood", "quality"):
        command = re.sub(r"--seed \d+", "--seed SEED", found[0]["command"])
        minutes = _spread([record["seconds"]["training"] / 60 for record in found])
        machines = ", ".join(sorted({_machine(record) for record in found}))
        lines.append([row.name, f"`{command}`", minutes, machines])
    return _table(("row", "command", "minutes", "machine"), lines)


def readme(records: Records) -> str:
    """The short version: one line for each system at its published length."""
    lines = []
    for row, found in _rows(records, "bound", "likelihood", "quality"):
        if row.name != row.system or min(record["epochs"] for record in found) < row.num_epochs:
            continue
        if row.measure == "quality":
            qualities = [_evaluation(record)["sample_quality"] for record in found]
            values = [one["samples"]["frechet_distance"] for one in qualities]
            floor = _mean([one["floor"]["frechet_distance"] for one in qualities])
            measured = f"Fréchet distance {_spread(values)} (real images {floor})"
        else:
            measured = f"held-out loss {_over(found, 'metrics', 'test/loss')}"
            if row.measure == "likelihood":
                measured += f", log p(x) {_log_likelihoods(found)}"
        epochs = f"{row.num_epochs} epochs, {len(found)} seed{'s' if len(found) > 1 else ''}"
        minutes = _mean([record["seconds"]["training"] / 60 for record in found])
        where = ", ".join(sorted({_machine(record) for record in found}))
        lines.append([f"`{row.name}`", f"{epochs}, {minutes} min on {where}", measured])
    return _table(("system", "training", "result"), lines)


def curves(records: Records) -> str:
    """The picture of the curves, where there is one."""
    if not any(_of_row(records, name) for name in BURDA):
        return ""
    return "![Held-out bound against the share of the published length](results.png)"


TABLES = {
    "likelihoods": likelihoods,
    "quality": quality,
    "costs": costs,
    "curves": curves,
    "readme": readme,
}


def draw_curves(records: Records, path: Path) -> None:
    """Draws the held-out bound of Burda's models against the share of their 3,280 epochs."""
    found = [record for name in BURDA for record in _of_row(records, name)]
    if not found:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for record in found:
        row = next(row for row in ROWS if row.name == record["row"])
        curve = record["curve"]
        shares = [point["epoch"] / row.num_epochs for point in curve]
        (line,) = axes.plot(shares, [point["test/loss"] for point in curve], label=row.name)
        published = float(row.published[0].value)
        axes.axhline(published, color=line.get_color(), linestyle="--", linewidth=0.8)
    axes.set(xscale="log", xlabel="share of the published 3,280 epochs", xlim=(None, 1))
    axes.set_ylabel("held-out bound, nats per image")
    axes.set_title("dashed: published negative log-likelihood", fontsize="medium", loc="left")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


# ---- cells


def _table(header: Sequence[str], lines: list[list[str]]) -> str:
    return measuring.markdown(header, lines) if lines else ""


def _rows(records: Records, *measures: str) -> list[tuple[Row, list[Mapping[str, Any]]]]:
    rows = [(row, _of_row(records, row.name)) for row in ROWS if row.measure in measures]
    return [(row, found) for row, found in rows if found]


def _of_row(records: Records, name: str) -> list[Mapping[str, Any]]:
    return [record for record in records.values() if record["row"] == name]


def _evaluation(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(record["evaluations"].values()))


def _epochs(row: Row, found: Sequence[Mapping[str, Any]]) -> str:
    """Epochs, with the share of the published number where it was not reached."""
    least = min(record["epochs"] for record in found)
    if least == row.num_epochs:
        return f"{least}"
    return f"{least} of {row.num_epochs} ({100 * least / row.num_epochs:.2g}%)"


def _over(found: Sequence[Mapping[str, Any]], *path: str) -> str:
    values = []
    for record in found:
        value: Any = record
        for name in path:
            value = value[name]
        values.append(value)
    return _spread(values)


def _log_likelihoods(found: Sequence[Mapping[str, Any]]) -> str:
    """log p(x) of every number of samples; a dash where there is none."""
    cells = []
    for number in found[0]["evaluations"]:
        reports = [record["evaluations"][number]["likelihood"] for record in found]
        if all(reports):
            values = [report["log_likelihood"] for report in reports]
            errors = [report["standard_error"] for report in reports]
            how = f"K = {reports[0]['num_samples']:,}, standard error {_mean(errors)}"
            cells.append(f"{_spread(values)} ({how})")
    return "; ".join(cells) or "-"


def _published(row: Row) -> str:
    return "; ".join(f"{p.what} {p.value} ({p.source})" for p in row.published) or "-"


def _platform(record: Mapping[str, Any]) -> str:
    return record["config"].get("device", {}).get("platform", "cpu")


def _machine(record: Mapping[str, Any]) -> str:
    return record["machine"]["accelerator" if _platform(record) != "cpu" else "processor"]


def _spread(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    if len(known) == 1:
        return _short(known[0])
    return f"{_short(statistics.mean(known))} ± {_short(statistics.stdev(known))}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _short(statistics.mean(known)) if known and len(known) == len(values) else "-"


def _short(value: float) -> str:
    if abs(value) >= 1:
        return f"{value:.2f}"
    if abs(value) >= 1e-3 or value == 0:
        return f"{value:.3f}"
    return f"{value:.1e}"
