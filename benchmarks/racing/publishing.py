"""The tables of README.md and docs/race.md, written from the results that are kept.

A machine has a file for each version of jaxlib. The CPU's tables come from the machine that was
raced last, among those with the most systems in float32, the GPU's from the newest file of
`benchmarks/accelerator.py`.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.accelerating import report as accelerators
from benchmarks.measuring import markdown
from benchmarks.racing import report
from benchmarks.racing.course import COURSES

TABLES = ("<!-- race: CPU -->", "<!-- end of race -->")  # around what is written in docs/race.md
SUMMARY = "|  | vae_mnist |"  # how the table in README.md begins
NO_GPU = "## On a GPU\n\nNothing has been measured on a GPU."


def publish(root: Path) -> None:
    """Writes both pages."""
    cpu, gpu = newest_cpu(), newest_gpu()
    for name, renewed in (("docs/race.md", page), ("README.md", readme)):
        path = root / name
        path.write_text(renewed(path.read_text(), cpu, gpu))
        print(f"written: {name}")


def newest_cpu(folder: Path = measuring.RESULTS) -> list[dict[str, Any]]:
    """The results of the CPU that was raced last with the most systems, for each jaxlib."""
    kept = [json.loads(path.read_text()) for path in folder.glob("race_*.json")]
    kept = [result for result in kept if not result["machine"].get("accelerator")]
    newest = max(kept, key=lambda result: (len(raced(result)), date(result)))
    of_it = [r for r in kept if of_machine(r) == of_machine(newest) and raced(r)]
    return sorted(of_it, key=lambda result: [int(n) for n in jaxlib(result).split(".")])


def newest_gpu(folder: Path = measuring.RESULTS) -> dict[str, Any] | None:
    """The newest result of an accelerator, or None."""
    kept = [json.loads(path.read_text()) for path in folder.glob("accelerator_*.json")]
    kept = [result for result in kept if result["machine"]["platform"] != "cpu"]
    return max(kept, key=date, default=None)


def date(result: dict[str, Any]) -> str:
    """When a machine's file was last added to; "" for files from before this was kept."""
    return result["machine"].get("date", "")


def jaxlib(result: dict[str, Any]) -> str:
    """The version that was raced."""
    return next(iter(raced(result).values()))["versions"]["jaxlib"]


def raced(result: dict[str, Any]) -> dict[str, Any]:
    """The systems that were raced in float32."""
    return result.get("float32", {}).get("systems", {})


def page(text: str, cpu: list[dict[str, Any]], gpu: dict[str, Any] | None) -> str:
    """docs/race.md with the newest numbers: the tables, and the section on a GPU at the end."""
    before, _, rest = text.partition(TABLES[0])
    _, found, after = rest.partition(TABLES[1])
    if not found:
        raise SystemExit(f"expected {TABLES[0]} and {TABLES[1]} in the page")
    tables = "\n\n".join(map(cpu_tables, cpu))
    after, _, _ = after.partition(accelerators.TITLE)
    section = NO_GPU if gpu is None else accelerators.section(gpu)
    return f"{before}{TABLES[0]}\n{tables}\n{TABLES[1]}{after.rstrip()}\n\n{section}\n"


def cpu_tables(result: dict[str, Any]) -> str:
    """What was raced with one version of jaxlib."""
    versions = next(iter(raced(result).values()))["versions"]
    lines = [
        f"### {of_machine(result)}, jaxlib {versions['jaxlib']}",
        ", ".join(
            [f"jax {versions['jax']}", f"torch {versions['torch']}", *filter(None, [date(result)])]
        )
        + ".",
        report.times_table(in_order(raced(result))),
    ]
    if peers := report.peers_table(raced(result)):
        lines += ["Other JAX libraries, seconds per epoch:", peers]
    bf16 = result.get("bf16", {}).get("systems", {})
    if bf16:
        lines += ['bfloat16: autocast in PyTorch, `precision="bfloat16"` in jaxgen.']
        lines += [report.times_table(bf16)]
    if populations := result.get("float32", {}).get("populations"):
        lines += ["Many seeds at once:", report.population_table(populations)]
    if starts := result.get("float32", {}).get("first_epoch"):
        lines += ["From the start of a process:", report.start_table(starts)]
    return "\n\n".join(lines)


def in_order(systems: dict[str, Any]) -> dict[str, Any]:
    """In the order of the race, whichever was raced first."""
    return {name: systems[name] for name in COURSES if name in systems}


def readme(text: str, cpu: list[dict[str, Any]], gpu: dict[str, Any] | None) -> str:
    """README.md with the newest ratios, a row for each machine and jaxlib."""
    names, rows = [name for name in COURSES if any(name in raced(r) for r in cpu)], []
    for result in cpu:
        known = raced(result)
        found = [report.advantage(known[name]) if name in known else [] for name in names]
        cells = [f"{statistics.median(values):.2f}" if values else "" for values in found]
        rows.append([f"{of_machine(result)}, jaxlib {jaxlib(result)}", *cells])
    if gpu is not None:
        race = gpu["parts"].get("race", {}).get("rows", {}).get("float32", {}).get("systems", {})
        found = [accelerators.advantage(race.get(name, {"sides": {}})) for name in names]
        cells = [f"{statistics.median(values):.2f}" if values else "" for values in found]
        rows.append([gpu["machine"]["accelerator"], *cells])
    return with_table(text, SUMMARY, markdown(["", *names], rows))


def of_machine(result: dict[str, Any]) -> str:
    """As in "Intel Xeon Processor, 2 cores"."""
    about = result["machine"]
    name = re.sub(r"\((R|TM)\)", "", about["processor"])
    return f"{' '.join(name.split())}, {about['threads']} cores"


def with_table(text: str, start: str, table: str) -> str:
    """The text with the one table that begins with `start` replaced."""
    before, found, after = text.partition(start)
    if not found or start in after:
        raise SystemExit(f"expected one table that begins with {start!r}")
    _, gap, rest = after.partition("\n\n")
    return before + table + gap + rest
