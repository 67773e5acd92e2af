"""Strided and transposed convolution on CPU, value and both gradients, against other libraries.

    python benchmarks/convolutions.py            # PyTorch and jaxgen, some minutes
    python benchmarks/convolutions.py --quick    # fewer repeats
    python benchmarks/convolutions.py --layers   # adds flax's and equinox's own layers
    python benchmarks/convolutions.py --report   # prints the table of the results on disk

PyTorch and JAX run in separate processes, because the thread pools of one library slow down the
other in one process. They take turns, on the same processors with the same number of threads. The
table is printed as markdown. The results are written to benchmarks/results/, one file per machine.
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
    torch_measures,
)
from benchmarks.measuring import ask, markdown, ratios, spread  # noqa: E402
from benchmarks.other_layers import LIBRARIES, serve_milliseconds  # noqa: E402

# ---- a process for each side, which reads orders from its standard input


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


def other_layer(library: str, index: int, options: argparse.Namespace) -> float | str:
    """Milliseconds of a library's own layer, or that a call takes longer than --cap."""
    process = start(
        "--worker",
        f"{library} {index}",
        *("--threads", str(options.threads), "--repeats", str(options.repeats)),
    )
    assert process.stdout
    if not process.stdout.readline():  # compiled
        raise SystemExit(f"{library} stopped: see its message above")
    try:
        return json.loads(process.communicate(timeout=options.cap)[0])
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"over {1e3 * options.cap:.0f}"


# ---- results

HEADER = (
    "layer, batch 64",
    "PyTorch fwd / all, ms",
    "jaxgen fwd / all / all in a loop, ms",
    "PyTorch / jaxgen, fwd",
    "all, one call",
    "all, in a loop",
    "flax, all, ms",
    "equinox, all, ms",
)


def table(result: dict[str, Any]) -> str:
    """The result as markdown."""
    rows = dict(result["rows"])
    others = [f"{library}_all" for library in LIBRARIES]
    layers = [rows[row.name] for row in GENERATOR]
    rows["the five generator layers"] = {
        k: [sum(turn) for turn in zip(*(layer[k] for layer in layers), strict=True)]
        for k in layers[0]
        if k not in others
    }
    lines = []
    for name, times in rows.items():
        median = {k: statistics.median(v) for k, v in times.items() if k not in others}
        slow = [times.get(key, "") for key in others]
        cells = (
            name,
            f"{median['torch_forward']:.1f} / {median['torch_all']:.1f}",
            " / ".join(f"{median[k]:.1f}" for k in ("jax_forward", "jax_all", "jax_loop")),
            spread(ratios(times["torch_forward"], times["jax_forward"])),
            spread(ratios(times["torch_all"], times["jax_all"])),
            spread(ratios(times["torch_all"], times["jax_loop"])),
            *(value if isinstance(value, str) else f"{value:,.0f}" for value in slow),
        )
        lines.append(cells)
    return markdown(HEADER, lines)


def keep_other_layers(path: Path, result: dict[str, Any]) -> None:
    """Takes over earlier times of flax's and equinox's layers."""
    known = json.loads(path.read_text()) if path.exists() else {"rows": {}, "versions": {}}
    for name, times in result["rows"].items():
        earlier = known["rows"].get(name, {})
        times |= {key: value for key, value in earlier.items() if key not in times}
    result["versions"] = known["versions"] | result["versions"]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repeats instead of --repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--layers", action="store_true", help="only flax's and equinox's layers")
    parser.add_argument("--cap", type=float, default=60, help="seconds for a row of --layers")
    parser.add_argument("--report", action="store_true", help="only print the results on disk")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    measuring.pin(options.threads)
    if options.worker in ("torch", "jax"):
        worker(options.worker, options.threads)
        return
    if options.worker:
        library, index = options.worker.split()
        serve_milliseconds(library, ROWS[int(index)], options.repeats)
        return

    path = measuring.results_path("convolutions", measuring.processor(), options.threads)
    if options.report:
        print(table(json.loads(path.read_text())))
        return
    if options.layers:
        result = json.loads(path.read_text())
        for index, row in enumerate(ROWS):
            for library in LIBRARIES:
                found = other_layer(library, index, options)
                result["rows"][row.name][f"{library}_all"] = found
                print(row.name, library, found, flush=True)
        result["versions"] |= measuring.versions(LIBRARIES)
    else:
        result = {
            "machine": measuring.machine(options.threads),
            "versions": measuring.versions(),
            "batch": BATCH,
            "unit": "milliseconds",
            "rows": race(options.threads, 3 if options.quick else options.repeats),
        }
        keep_other_layers(path, result)
    print(table(result))
    measuring.write(path, result)
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
