"""Strided and transposed convolution on CPU: jaxgen against PyTorch, forward and both gradients.

    python benchmarks/convolutions.py            # every row, some minutes
    python benchmarks/convolutions.py --quick    # fewer repeats
    python benchmarks/convolutions.py --plain    # also plain jax.lax, once, with a time limit

PyTorch and JAX run in separate processes and are measured in turns, because in one process their
thread pools would disturb each other. Each runs on the same processors with the same number of
threads. The table is printed as Markdown and written to benchmarks/results/, one file per machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.layers import (  # noqa: E402
    BATCH,
    GENERATOR,
    ROWS,
    Measures,
    jax_measures,
    plain_milliseconds,
    torch_measures,
)
from benchmarks.measuring import ask, markdown, ratios, spread  # noqa: E402

# ---- a process for each side, which reads from standard input what to measure next


def worker(side: str, threads: int) -> None:
    """Serve measurements: {"row": i} prepares a row, {"measure": name} answers in milliseconds."""
    prepare = {"torch": torch_measures, "jax": jax_measures}[side]
    measures: Measures = {}

    def answer(order: dict) -> Any:
        nonlocal measures
        if "row" in order:
            measures = prepare(ROWS[order["row"]], threads)
            return sorted(measures)
        return measures[order["measure"]]()

    measuring.serve(answer)


def start(*arguments: str) -> subprocess.Popen:
    """This script again, as a worker."""
    return measuring.start(__file__, *arguments, environment={"JAX_PLATFORMS": "cpu"})


def race(threads: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Every row on both sides, turn by turn."""
    sides = {side: start("--worker", side, "--threads", str(threads)) for side in ("torch", "jax")}
    rows = {}
    for index, row in enumerate(ROWS):
        names = {side: ask(process, {"row": index}) for side, process in sides.items()}
        times = {f"{side}_{name}": [] for side in sides for name in names[side]}
        for _ in range(repeats):
            for side, process in sides.items():
                time.sleep(measuring.PAUSE)
                for name in names[side]:
                    times[f"{side}_{name}"].append(ask(process, {"measure": name}))
        rows[row.name] = times
        print(row.name, {k: round(statistics.median(v), 2) for k, v in times.items()}, flush=True)
    for process in sides.values():
        process.communicate()
    return rows


def plain(index: int, threads: int, cap: float) -> float | str:
    """Seconds that plain jax.lax takes for a row, or that it takes longer than the cap."""
    process = start("--worker", f"plain{index}", "--threads", str(threads))
    assert process.stdout
    process.stdout.readline()  # compiled
    try:
        return json.loads(process.communicate(timeout=cap)[0])
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"over {1e3 * cap:.0f}"


# ---- results

HEADER = (
    "layer, batch 64",
    "PyTorch fwd / all, ms",
    "jaxgen fwd / all / all in a loop, ms",
    "PyTorch / jaxgen, fwd",
    "all, one call",
    "all, in a loop",
    "plain lax, all, ms",
)


def table(result: dict[str, Any]) -> str:
    """The result as markdown."""
    rows = dict(result["rows"])
    layers = [rows[row.name] for row in GENERATOR]
    rows["the five generator layers"] = {
        k: [sum(turn) for turn in zip(*(layer[k] for layer in layers), strict=True)]
        for k in layers[0]
        if k != "plain_all"
    }
    lines = []
    for name, times in rows.items():
        median = {k: statistics.median(v) for k, v in times.items() if k != "plain_all"}
        slow = times.get("plain_all", "")
        cells = (
            name,
            f"{median['torch_forward']:.1f} / {median['torch_all']:.1f}",
            " / ".join(f"{median[k]:.1f}" for k in ("jax_forward", "jax_all", "jax_loop")),
            spread(ratios(times["torch_forward"], times["jax_forward"])),
            spread(ratios(times["torch_all"], times["jax_all"])),
            spread(ratios(times["torch_all"], times["jax_loop"])),
            slow if isinstance(slow, str) else f"{slow:.0f}",
        )
        lines.append(cells)
    return markdown(HEADER, lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of --repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--plain", action="store_true", help="only plain jax.lax, once a row")
    parser.add_argument("--cap", type=float, default=10, help="seconds for a call of plain lax")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    measuring.pin(options.threads)
    if options.worker:
        if options.worker.startswith("plain"):
            print(json.dumps(plain_milliseconds(ROWS[int(options.worker[5:])])), flush=True)
        else:
            worker(options.worker, options.threads)
        return

    path = measuring.results_path("convolutions", measuring.processor(), options.threads)
    if options.plain:
        result = json.loads(path.read_text())
        for index, row in enumerate(ROWS):
            result["rows"][row.name]["plain_all"] = plain(index, options.threads, options.cap)
    else:
        result = {
            "machine": measuring.machine(options.threads),
            "versions": measuring.versions(),
            "batch": BATCH,
            "unit": "milliseconds",
            "rows": race(options.threads, 3 if options.quick else options.repeats),
        }
        known = json.loads(path.read_text())["rows"] if path.exists() else {}
        for name, times in result["rows"].items():
            if "plain_all" in known.get(name, {}):
                times["plain_all"] = known[name]["plain_all"]
    print(table(result))
    measuring.write(path, result)
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
