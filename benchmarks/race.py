"""Compares the speed of jaxgen and PyTorch on the seven source systems.

    python benchmarks/race.py --animals DIR                   # all systems, about half an hour
    python benchmarks/race.py --systems vae_mnist wgan_mnist  # some of them
    python benchmarks/race.py --quick                         # vae_mnist and vae_flowers for
                                                              # a short time, 3 minutes, not kept
    python benchmarks/race.py --populations                   # many seeds at once
    python benchmarks/race.py --first-epoch                   # from the start of a process
    python benchmarks/race.py --torch-defaults                # without the fastest settings
    python benchmarks/race.py --report                        # table and chart of the results
    python benchmarks/race.py --publish                       # README.md and docs/race.md from the
                                                              # newest results

Each side runs in a separate process. The sides are measured in turns, on the same processors with
the same number of threads; each turn starts with a different side. All start from the same weights,
and their first losses must agree. Every call adds its systems to the file of this machine and
jaxlib in benchmarks/results/, under the precision they were measured in. benchmarks/NOTES.md
describes the method and the findings.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.racing import devices, publishing, report  # noqa: E402
from benchmarks.racing.course import COURSES, POPULATIONS, QUICK  # noqa: E402
from benchmarks.racing.first_epoch import first_epoch  # noqa: E402
from benchmarks.racing.turns import Race, population, race  # noqa: E402
from benchmarks.racing.worker import work  # noqa: E402

MINIMUM_REPEATS = 5


def main() -> None:
    """Measures, writes and prints; or runs a worker."""
    options = parse()
    measuring.pin(options.threads)
    if options.worker:
        work(options.threads, json.loads(options.worker))
        return
    if options.publish:
        publishing.publish(ROOT)
        return
    device = measuring.accelerator()
    jaxlib = importlib.metadata.version("jaxlib")
    name = f"{device or measuring.processor()}, jaxlib {jaxlib}"
    path = measuring.results_path("race", name, options.threads)
    if options.report:
        if not path.exists():
            raise SystemExit(f"nothing is kept for this machine: expected {path}")
        result = json.loads(path.read_text())
        print(report.everything(result))
        report.draw(result, ROOT / "docs" / "race.png")
        return

    part = report.UNTUNED if options.torch_defaults else options.precision
    folder = Path(tempfile.mkdtemp(prefix="race-"))
    try:
        for name in options.systems:
            course = COURSES[name]
            choice = devices.choose(
                device is not None,
                options.precision,
                adam=name != "wgan_mnist",
                channels_last=course.channels_last,
            )
            if options.torch_defaults:
                choice = devices.untuned(choice)
            the = Race(options, choice, folder)
            if options.first_epoch:
                kind, entry = "first_epoch", first_epoch(the, course)
            elif options.populations:
                kind, entry = "populations", population(the, course)
            else:
                kind, entry = "systems", race(the, course)
            if options.quick:
                print(report.everything({part: {kind: {name: entry}}}))
                continue
            if options.populations:
                name = f"{name} x {options.population}"
            machine = measuring.machine(options.threads) | {
                "accelerator": device,
                "date": time.strftime("%Y-%m-%d"),
            }
            keep(path, machine, (part, kind, name), entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(
    path: Path, machine: dict[str, Any], where: tuple[str, str, str], entry: dict[str, Any]
) -> None:
    """Adds or replaces an entry in the machine's file and prints it."""
    part, kind, name = where
    result = json.loads(path.read_text()) if path.exists() else {}
    result["machine"] = machine
    result.setdefault(part, {}).setdefault(kind, {})[name] = entry
    measuring.write(path, result)
    print(report.everything({part: {kind: {name: entry}}}))
    print(f"\nkept in {path.relative_to(ROOT)}", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--systems", nargs="+", choices=COURSES, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help=f"{' and '.join(QUICK)}, short")
    parser.add_argument("--populations", action="store_true", help="many seeds at once")
    parser.add_argument("--first-epoch", action="store_true", help="time from process start")
    parser.add_argument("--report", action="store_true", help="print and draw what is kept")
    parser.add_argument("--publish", action="store_true", help="write the published tables")
    parser.add_argument("--repeats", type=int, default=MINIMUM_REPEATS)
    parser.add_argument("--population", type=int, default=8, help="seeds at once")
    parser.add_argument("--population-steps", type=int, default=50, help="steps of a measurement")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--precision", choices=devices.PRECISIONS, default="float32")
    parser.add_argument(
        "--torch-defaults",
        action="store_true",
        help="both without their fastest settings, float32, in a part of its own",
    )
    parser.add_argument("--data-dir", help="where prepared sets live, as for the experiments")
    parser.add_argument("--animals", help="folder of photographs, one sub-folder a class")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch_defaults and options.precision != "float32":
        parser.error(f"--torch-defaults: expected --precision float32, got {options.precision}")
    if options.populations:
        options.systems = [n for n in options.systems or POPULATIONS if n in POPULATIONS]
    elif options.first_epoch:
        options.systems = options.systems or ["vae_mnist"]
    elif options.quick:
        options.systems = options.systems or list(QUICK)
    elif not options.systems:
        options.systems = [n for n in COURSES if options.animals or n != "vae_animals"]
    return options


if __name__ == "__main__":
    main()
