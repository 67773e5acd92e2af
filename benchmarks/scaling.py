"""Scaling with batch size, latent samples, image size, seeds at once and devices.

    python benchmarks/scaling.py                   # every sweep, some minutes
    python benchmarks/scaling.py --sweeps batch    # some of them
    python benchmarks/scaling.py --report          # table and charts of the results

Every point of a sweep runs in a separate process, and the points are measured in turns. On a CPU
each processor is one device. The images are noise, because their content does not change the cost.
benchmarks/NOTES.md explains the results.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.measuring import ask, markdown, spread  # noqa: E402


class Sweep(NamedTuple):
    """One system and the number of it that is varied.

    Attributes:
      system: of jaxgen.systems.
      label: the name of the varied number.
      points: its values.
      images: number of images in one measurement at a point.
    """

    system: str
    label: str
    points: tuple[int, ...]
    images: Callable[[int], int]


SWEEPS = {
    "batch": Sweep("vae_mnist", "batch size", (32, 128, 512, 2048, 8192), lambda _: 16384),
    "samples": Sweep("vae_mnist", "latent samples", (1, 2, 5, 10, 20, 50), lambda _: 2560),
    "size": Sweep("vae_flowers", "pixels a side", (32, 48, 64, 96, 128), lambda _: 256),
    "population": Sweep("vae_mnist", "seeds at once", (1, 2, 4, 8, 16, 32, 64), lambda _: 1280),
    "devices": Sweep("vae_mnist", "devices", (1, 2, 4, 8), lambda _: 128),
}
DEVICE_BATCH = 1024
STEPS_OF_DEVICES = 20


def measure_of(name: str, point: int) -> Callable[[], float]:
    """A function that measures one point, in seconds per image."""
    import jax
    import jax.numpy as jnp

    from jaxgen import systems

    sweep = SWEEPS[name]
    arguments = {
        "batch": {"batch_size": point},
        "samples": {"num_samples": point},
        "size": {"resolution": point},
    }
    learner = getattr(systems, sweep.system)(**arguments.get(name, {}))
    shape = (point, point, 3) if name == "size" else (28, 28, 1)
    number = DEVICE_BATCH if name == "devices" else sweep.images(point)
    images = jax.random.randint(jax.random.key(1), (number, *shape), 0, 256).astype(jnp.uint8)
    keys = jax.random.split(jax.random.key(0), point if name == "population" else 1)
    state = jax.vmap(learner.init)(keys) if name == "population" else learner.init(keys[0])
    epoch = learner.epoch
    if name == "population":
        epoch = jax.jit(jax.vmap(learner.epoch, in_axes=(0, None, 0)), donate_argnums=0)
    if name == "devices":
        mesh = jax.make_mesh((point,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        apart = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        images, state = jax.device_put(images, apart), jax.device_put(state, everywhere)

        def epoch(state: Any, images: Any, key: Any) -> Any:
            metrics = None
            for step_key in jax.random.split(key, STEPS_OF_DEVICES):
                state, metrics = learner.step(state, images, step_key)
            return state, metrics

    seen = number * {"population": point, "devices": STEPS_OF_DEVICES}.get(name, 1)

    def measure() -> float:
        nonlocal state
        start = time.perf_counter()
        state, metrics = epoch(state, images, keys if name == "population" else keys[0])
        jax.block_until_ready((state, metrics))
        return (time.perf_counter() - start) / seen

    return measure


def sweep(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All points of a sweep, in turns."""
    points = SWEEPS[name].points
    if name == "devices":
        points = tuple(n for n in points if n <= options.threads or measuring.accelerator())
    workers = {}
    for point in points:
        arguments = ["--worker", name, str(point), "--threads", str(options.threads)]
        environment = {}
        if name == "devices" and not measuring.accelerator():
            environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={point}"
        workers[point] = measuring.start(__file__, *arguments, environment=environment)
    for worker in workers.values():
        ask(worker, {})  # compiles
    times: dict[int, list[float]] = {point: [] for point in points}
    for turn in range(options.repeats):
        for point in points[turn % len(points) :] + points[: turn % len(points)]:
            time.sleep(measuring.PAUSE)
            ask(workers[point], {})  # wakes the processors and fills the caches
            times[point].append(ask(workers[point], {}))
    for worker in workers.values():
        worker.communicate()
    return {"versions": measuring.versions(("jax", "jaxlib")), "seconds_an_image": times}


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = []
    for name, entry in result["sweeps"].items():
        about = SWEEPS[name]
        for point, seconds in entry["seconds_an_image"].items():
            throughput = f"{1 / statistics.median(seconds):,.0f}"
            rows.append([about.system, about.label, point, spread_of(seconds), throughput])
    return markdown(["system", "varied", "value", "µs per image", "images/s"], rows)


def spread_of(seconds: list[float]) -> str:
    """Median and range, in microseconds."""
    return spread([1e6 * value for value in seconds])


def draw(result: dict[str, Any], path: Path) -> None:
    """Plots time per image, one panel for each sweep."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    sweeps = result["sweeps"]
    figure = Figure(figsize=(3 * len(sweeps), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, entry) in zip(figure.subplots(1, len(sweeps), squeeze=False)[0],
                                   sweeps.items(), strict=True):  # fmt: skip
        times = {int(point): values for point, values in entry["seconds_an_image"].items()}
        middle = [1e6 * statistics.median(values) for values in times.values()]
        low = [1e6 * min(values) for values in times.values()]
        high = [1e6 * max(values) for values in times.values()]
        axes.fill_between(list(times), low, high, alpha=0.2)
        axes.plot(list(times), middle, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(times), [str(point) for point in times], minor=False)
        if max(middle) > 10 * min(middle):  # growth: a power is a straight line
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(SWEEPS[name].label)
        axes.set_title(SWEEPS[name].system, fontsize="medium")
    figure.supylabel("µs per image", fontsize="medium")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, write, print; or be a worker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--report", action="store_true", help="print and draw what is kept")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    measuring.pin(options.threads)
    if options.worker:
        name, point = options.worker
        measure = measure_of(name, int(point))
        measuring.serve(lambda _: measure())
        return
    device = measuring.accelerator()
    path = measuring.results_path("scaling", device or measuring.processor(), options.threads)
    if not options.report:
        for name in options.sweeps:
            result = json.loads(path.read_text()) if path.exists() else {"sweeps": {}}
            result["machine"] = measuring.machine(options.threads) | {"accelerator": device}
            result["sweeps"][name] = sweep(name, options)
            measuring.write(path, result)
            print(f"{name} is kept in {path.relative_to(ROOT)}", flush=True)
    if not path.exists():
        raise SystemExit(f"nothing is kept for this machine: expected {path}")
    result = json.loads(path.read_text())
    print(table(result))
    draw(result, ROOT / "docs" / "scaling.png")


if __name__ == "__main__":
    main()
