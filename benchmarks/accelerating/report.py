"""The results of an accelerator as a section of docs/race.md."""

import re
import statistics
import textwrap
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import markdown, ratios, spread
from benchmarks.racing.agreement import LATER_TOLERANCE

TITLE = "## On a GPU"
LONGEST_REASON = 90  # characters
NOT_COMPARED = ["not compared"]  # what a race says of sides that were not measured
SIDES = {
    "torch_eager": "PyTorch, eager",
    "torch_compile": "torch.compile",
    "jaxgen_step": "jaxgen, step",
    "jaxgen_epoch": "jaxgen, epoch",
}


def section(result: dict[str, Any]) -> str:
    """Every part that has rows, under one heading."""
    about = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        TITLE,
        f"{about['accelerator']}, {about['threads']} processors, {versions}, {about['date']}. "
        "`python benchmarks/accelerator.py`; images are noise. Products in float32 are without "
        'TF32 on both sides; in bfloat16 PyTorch has autocast and jaxgen `precision="bfloat16"`.',
    ]
    for name, table in TABLES.items():
        part = result["parts"].get(name)
        if part is None:
            continue
        lines += table(part["rows"]) if part["rows"] else []
        if part["state"] != "done":
            lines.append(f"The part `{name}` was {part['state']}: {reasons(part['error'])}.")
    return "\n\n".join(line for line in lines if line)


def reasons(error: str) -> str:
    """Why a part did not end, with processes that ended alike counted."""
    parts = [re.sub(r"^process \d+ of \d+: ", "", part) for part in error.split("; ")]
    counts = {part: parts.count(part) for part in parts}
    return "; ".join(
        part if count == 1 else f"{count} processes {part}" for part, count in counts.items()
    )


def agreement(rows: dict[str, Any]) -> list[str]:
    """Which systems ran and agreed with the CPU."""
    systems = {name: row for name, row in rows.items() if name != "precision"}
    good = [name for name, row in systems.items() if row.get("agrees")]
    bad = [name for name in systems if name not in good]
    largest = {name: max(systems[name]["differences"]) for name in good}
    amplified = [name for name in good if largest[name] > LATER_TOLERANCE]
    worst = max((largest[name] for name in good if name not in amplified), default=0.0)
    words = (
        f"{len(good)} of {len(systems)} systems agree with the CPU after three steps "
        f"(largest difference {worst:.0e} of the largest metric)"
    )
    for name in amplified:
        rounding = max(systems[name]["rounding"])
        words += (
            f"; {name} differs by {largest[name]:.0e}, and by {rounding:.0e} between two runs on "
            "the CPU whose weights differ in the last bit"
        )
    if bad:
        words += "; not: " + ", ".join(f"{name} ({why(systems[name])})" for name in bad)
    precise = rows.get("precision", {})
    if "highest" in precise:
        words += (
            f". Error of a product: {precise['highest']['product']:.0e} in float32, "
            f"{precise['tensorfloat32']['product']:.0e} in TF32"
        )
    return [words + "."]


def why(row: dict[str, Any]) -> str:
    """What is wrong with a row."""
    if "differences" in row:
        return f"differences {', '.join(f'{d:.0e}' for d in row['differences'])}"
    return row.get("error") or row.get("skipped") or "no result"


def race(rows: dict[str, Any]) -> list[str]:
    """Milliseconds per step of each side, a table for each precision."""
    lines = []
    for precision, kept in rows.items():
        systems = kept.get("systems", {})
        table = [race_row(name, entry) for name, entry in systems.items() if entry.get("sides")]
        if not table:
            continue
        header = ["", *SIDES.values(), "best PyTorch / best jaxgen"]
        title = "float32" if precision == "float32" else precision.upper().replace("BF", "BFLOAT")
        lines += [f"**{title}**, milliseconds per step, median (range):"]
        lines += [markdown(header, table)]
        lines += [failures(systems)] if any(e.get("failures") for e in systems.values()) else []
        differing = [
            f"{name}: {'; '.join(entry['disagreement'])}"
            for name, entry in systems.items()
            if entry.get("disagreement")
            and precision == "float32"
            and not (entry.get("failures") and entry["disagreement"] == NOT_COMPARED)
        ]
        lines += [f"Sides that differ: {'; '.join(differing)}."] if differing else []
    return lines


def failures(systems: dict[str, Any]) -> str:
    """What was not measured, by reason; the results have the whole messages."""
    reasons: dict[str, list[str]] = {}
    for name, entry in systems.items():
        for side, what in entry.get("failures", {}).items():
            brief = textwrap.shorten(what, LONGEST_REASON, placeholder=" ...")
            reasons.setdefault(brief, []).append(f"{name} ({SIDES[side]})")
    return " ".join(f"Not measured, {what}: {', '.join(who)}." for what, who in reasons.items())


def race_row(name: str, entry: dict[str, Any]) -> list[str]:
    """One system."""
    sides = entry["sides"]
    cells = [
        spread([1e3 * s / entry["steps"] for s in sides[side]["seconds"]]) if side in sides else ""
        for side in SIDES
    ]
    return [name, *cells, spread(advantage(entry)) if advantage(entry) else ""]


def advantage(entry: dict[str, Any]) -> list[float]:
    """Best PyTorch side over best jaxgen side, turn by turn; empty where one is missing."""
    best = []
    for library in ("torch", "jaxgen"):
        sides = {s: row["seconds"] for s, row in entry["sides"].items() if s.startswith(library)}
        if not sides:
            return []
        best.append(min(sides.values(), key=statistics.median))
    return ratios(*best)


def convolution_forms(rows: dict[str, Any]) -> list[str]:
    """Microseconds of each form, a line for each layer and product."""
    forms = ("xla", "padded", "phases", "patches")
    table = [
        [name, *(number(row.get(form, {}), "microseconds", "{:,.0f}") for form in forms), called]
        for name, row in rows.items()
        if "xla" in row
        for called in ["yes" if row["xla"].get("backward_filter") else "no"]
    ]
    header = ["product of a layer, batch 64", *(f"{form}, µs" for form in forms)]
    floor = number(rows.get("empty program", {}), "microseconds", "{:.0f}")
    title = f"**Convolutions**, float32 (a call of an empty program takes {floor or '?'} µs):"
    return [title, markdown([*header, "backward filter"], table)]


def number(row: dict[str, Any], key: str, form: str) -> str:
    """A number of a row, if it has it."""
    return form.format(row[key]) if key in row else ""


def layer_times(rows: dict[str, Any]) -> list[str]:
    """Milliseconds of a call that is waited for."""
    table = [
        [
            name,
            *(number(row.get("torch", {}), key, "{:.2f}") for key in ("forward", "all")),
            *(number(row.get("jax", {}), key, "{:.2f}") for key in ("forward", "all", "loop")),
        ]
        for name, row in rows.items()
        if "jax" in row
    ]
    header = ["layer, batch 64", "PyTorch fwd, ms", "all", "jaxgen fwd, ms", "all", "all in a loop"]
    return [markdown(header, table)]


def loops(rows: dict[str, Any]) -> list[str]:
    """Milliseconds of a step in each kind of loop."""
    table = [
        [name, number(row, "ms_per_step", "{:.3f}"), number(row, "compile_seconds", "{:.1f}")]
        for name, row in rows.items()
        if "ms_per_step" in row
    ]
    return ["**Loops**, float32:", markdown(["loop", "ms per step", "compiling, s"], table)]


def populations(rows: dict[str, Any]) -> list[str]:
    """Time of one member's step."""
    table = [
        [
            name,
            number(row, "ms_per_member_step", "{:.4f}"),
            number(row, "compile_seconds", "{:.1f}"),
            number(row, "peak_mib", "{:,.0f}"),
        ]
        for name, row in rows.items()
        if "ms_per_member_step" in row
    ]
    header = ["seeds of vae_mnist at once", "ms per step and seed", "compiling, s", "peak, MiB"]
    return [markdown(header, table)]


def likelihood(rows: dict[str, Any]) -> list[str]:
    """Seconds of the whole set."""
    table = [
        [name, f"{row['of']:,} x {row['samples']:,}", f"{row['seconds_of_all']:.1f}" + part]
        for name, row in rows.items()
        if "seconds_of_all" in row
        for part in ["" if row["images"] == row["of"] else f" (from {row['images']:,})"]
    ]
    return [markdown(["log-likelihood, chunks", "images x samples", "seconds"], table)]


def memory(rows: dict[str, Any]) -> list[str]:
    """MiB of an epoch's program."""
    table = [
        [name, *(f"{row['mib'][key]:,.0f}" for key in ("arguments", "temporary"))]
        for name, row in sorted(rows.items())
        if "mib" in row
    ]
    header = ["epoch of 1,024 images", "state and images, MiB", "beside them, MiB"]
    return [markdown(header, table)]


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "agreement": agreement,
    "race": race,
    "convolution_forms": convolution_forms,
    "layer_times": layer_times,
    "loops": loops,
    "populations": populations,
    "likelihood": likelihood,
    "memory": memory,
}
