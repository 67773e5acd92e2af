"""The tables of README.md and docs/race.md, written from the results that are kept.

A machine has a file of its own. The CPU's table comes from the newest file among those with the
most systems in float32, the GPU's from the newest file of `benchmarks/accelerator.py`.
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

TABLE = "|  | PyTorch, DataLoader |"  # how the table in docs/race.md begins
SUMMARY = "|  | vae_mnist |"  # and the one in README.md
NO_GPU = "## On a GPU\n\nNothing has been measured on a GPU."


def publish(root: Path) -> None:
    """Writes both pages."""
    cpu, gpu = newest_cpu(), newest_gpu()
    for name, renewed in (("docs/race.md", page), ("README.md", readme)):
        path = root / name
        path.write_text(renewed(path.read_text(), cpu, gpu))
        print(f"written: {name}")


def newest_cpu(folder: Path = measuring.RESULTS) -> dict[str, Any]:
    """The newest of the CPU results with the most systems in float32."""
    kept = [json.loads(path.read_text()) for path in folder.glob("race_*.json")]
    kept = [result for result in kept if not result["machine"].get("accelerator")]
    return max(kept, key=lambda result: (len(raced(result)), date(result)))


def newest_gpu(folder: Path = measuring.RESULTS) -> dict[str, Any] | None:
    """The newest result of an accelerator, or None."""
    kept = [json.loads(path.read_text()) for path in folder.glob("accelerator_*.json")]
    kept = [result for result in kept if result["machine"]["platform"] != "cpu"]
    return max(kept, key=date, default=None)


def date(result: dict[str, Any]) -> str:
    """When a machine's file was last added to; "" for files from before this was kept."""
    return result["machine"].get("date", "")


def raced(result: dict[str, Any]) -> dict[str, Any]:
    """The systems that were raced in float32."""
    return result.get("float32", {}).get("systems", {})


def page(text: str, cpu: dict[str, Any], gpu: dict[str, Any] | None) -> str:
    """docs/race.md with the newest numbers: the table, and the section on a GPU at the end."""
    text = with_table(text, TABLE, report.times_table(raced(cpu)).split("\n\n")[0])
    before, _, _ = text.partition(accelerators.TITLE)
    section = NO_GPU if gpu is None else accelerators.section(gpu)
    return f"{before.rstrip()}\n\n{section}\n"


def readme(text: str, cpu: dict[str, Any], gpu: dict[str, Any] | None) -> str:
    """README.md with the newest ratios, a row for each kind of machine."""
    advantages = {name: report.advantage(entry) for name, entry in raced(cpu).items()}
    rows = [[of_machine(cpu), *(f"{statistics.median(v):.2f}" for v in advantages.values())]]
    if gpu is not None:
        race = gpu["parts"].get("race", {}).get("rows", {}).get("float32", {}).get("systems", {})
        found = [accelerators.advantage(race.get(name, {"sides": {}})) for name in advantages]
        cells = [f"{statistics.median(values):.2f}" if values else "" for values in found]
        rows.append([gpu["machine"]["accelerator"], *cells])
    return with_table(text, SUMMARY, markdown(["", *advantages], rows))


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
