"""Everything that is to be known about a GPU, in one command.

    python benchmarks/accelerator.py --minutes 12         # writes benchmarks/results/
    python benchmarks/accelerator.py --parts race loops   # some parts; the others stay as kept
    python benchmarks/accelerator.py --small              # what a CPU can do in some minutes
    python benchmarks/accelerator.py --report             # the section of docs/race.md
    python benchmarks/accelerator.py --pack DIR           # wheels for a machine without network

The parts, in this order: every system runs and agrees with the CPU; the race with PyTorch;
convolutions by form and by library; command buffers and unrolled loops; many seeds at once;
log-likelihoods; memory. Each part runs in processes of its own and is written to one JSON file as
soon as it has ended. One that fails, hangs or is killed leaves what it had measured, and the next
begins. Where the time is short, later parts are skipped. Images are noise from a fixed seed.
"""

import argparse
import functools
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.accelerating import packing, report, schedule, target, workers  # noqa: E402
from benchmarks.accelerating.schedule import Part  # noqa: E402
from benchmarks.accelerating.task import Task  # noqa: E402

AS_THEY_COME = "--xla_gpu_autotune_level=0"
PARTS = (
    # Kernels are not chosen by timing them where none is timed.
    Part("agreement", "all systems run and agree with the CPU", 60, True, AS_THEY_COME),
    Part("race", "PyTorch and jaxgen in turns", 400),
    Part("convolution_forms", "each product of each layer in each form", 45),
    Part("layer_times", "layers of PyTorch and jaxgen", 25),
    Part("loops", "command buffers and unrolled scans", 35),
    Part("populations", "many seeds at once", 30),
    Part("likelihood", "log-likelihoods of 10,000 images with 5,000 samples", 20),
    Part("memory", "memory of an epoch of each system", 25, True, AS_THEY_COME),
)
WORKERS = {
    "side": ("race", "Library"),
    "loop": ("loops", "Loop"),
    "layer": ("layer_times", "Layer"),
}


def main() -> None:
    """Measures all parts; or is one process of a part, or a worker of one."""
    options = parse()
    if options.worker:
        words = json.loads(options.worker)
        module, name = WORKERS[words["kind"]]
        workers.serve(getattr(part_module(module), name)(words))
    elif options.part:
        words = json.loads(options.part)
        task = Task(
            target.from_words(words["target"]),
            Path(words["path"]),
            words["seconds"],
            (words["share"][0], words["share"][1]),
        )
        part_module(words["name"]).measure(task)
    elif options.report:
        print(report.section(json.loads(newest(options.output).read_text())))
    elif options.pack:
        packing.pack(Path(options.pack), ROOT)
    else:
        measure(options)


def part_module(name: str) -> Any:
    """The module of a part, imported only where it runs."""
    return importlib.import_module(f"benchmarks.accelerating.{name}")


def measure(options: argparse.Namespace) -> None:
    """All parts, one after another, into one file."""
    the = machine_of(options)
    path = Path(options.output or measuring.results_path("accelerator", the.name, the.processors))
    about = measuring.machine(the.processors) | {
        "date": time.strftime("%Y-%m-%d"),
        "accelerator": the.name,
        "platform": the.platform,
        "small": the.small,
        "versions": known_versions(),
    }
    parts = [part for part in PARTS if part.name in (options.parts or [p.name for p in PARTS])]
    with tempfile.TemporaryDirectory(prefix="accelerator-") as folder:
        # Processes tell one another which kernels they chose.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(folder) / "programs"))
        schedule.run(
            parts,
            the,
            60 * options.minutes,
            functools.partial(words_of_part, the),
            Path(folder),
            schedule.keeper(path, about),
        )
    print(report.section(json.loads(path.read_text())))
    print(f"\nwritten to {path}")


def machine_of(options: argparse.Namespace) -> target.Target:
    """The target, from the options and from the driver, without initializing JAX here."""
    gpu = measuring.accelerator() if options.platform in (None, "cuda") else None
    platform = options.platform or ("cuda" if gpu else "cpu")
    name = gpu or (measuring.processor() if platform == "cpu" else platform)
    small = options.small or platform == "cpu"
    return target.Target(platform, name, target.processors(), small)


def words_of_part(
    the: target.Target, name: str, path: Path, seconds: float, share: tuple[int, int]
) -> list[str]:
    """The command of one process of a part."""
    words = {
        "name": name,
        "target": the._asdict(),
        "path": str(path),
        "seconds": seconds,
        "share": share,
    }
    return [sys.executable, __file__, "--part", json.dumps(words)]


def known_versions() -> dict[str, str]:
    """Versions of what is installed of the packages that are measured."""
    import importlib.metadata
    import importlib.util

    wanted = ("jax", "jaxlib", "torch", "flax", "optax")
    return {
        name: importlib.metadata.version(name) for name in wanted if importlib.util.find_spec(name)
    }


def newest(output: str | None) -> Path:
    """The file to report on: the one named, or the newest of results/."""
    if output:
        return Path(output)
    paths = list(measuring.RESULTS.glob("accelerator_*.json"))
    if not paths:
        raise SystemExit("nothing is kept: run this without --report, or name a file with --output")
    return max(paths, key=lambda path: json.loads(path.read_text())["machine"]["date"])


def parse() -> argparse.Namespace:
    """The command line."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12.0, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=names, help="only these")
    parser.add_argument(
        "--platform", choices=target.PLATFORMS, help="default: a GPU if there is one"
    )
    parser.add_argument("--small", action="store_true", help="few systems, steps and repeats")
    parser.add_argument("--output", metavar="FILE", help="default: one in benchmarks/results/")
    parser.add_argument("--report", action="store_true", help="print what is kept as Markdown")
    parser.add_argument("--pack", metavar="DIR", help="download what the machine may lack to DIR")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
