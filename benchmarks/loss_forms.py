"""Compares equivalent forms of loss, images and Adam in whole training steps and evaluations.

    python benchmarks/loss_forms.py                              # vae_mnist, all 16 combinations
    python benchmarks/loss_forms.py --systems vae_binarized_mnist vae_flowers --turns 20
    python benchmarks/loss_forms.py --factors softplus sum       # these two only

A combination takes one form of each factor:

    softplus   series: networks.softplus; log1p: jax.nn.softplus
    sum        product: the sum over pixels as a product with ones; plain: jnp.sum
    images     uint8 or float32 in memory
    adam       optax: optax.adam; folded: bias corrections folded into two scalars

Every combination is compiled once. Then all of them are measured in turns in this process, each
turn starting with a different one, so that slow changes of the machine affect all alike. Ratios to
the combination that the library has are taken turn by turn; above 1 means faster. The results are
printed and written to benchmarks/results/, one file per machine and version of jaxlib. Run it on an
idle machine.
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.measuring import markdown, ratios, spread  # noqa: E402
from benchmarks.racing.course import COURSES, Course, load  # noqa: E402
from jaxgen import systems  # noqa: E402
from jaxgen.models import likelihoods  # noqa: E402
from jaxgen.networks.softplus import softplus  # noqa: E402
from jaxgen.types import Array, Learner  # noqa: E402

product_with_ones = likelihoods._sum_over_pixels
optax_adam = optax.adam


def plain_sum(values: Array) -> Array:
    """[B, H, W, C] -> [B]."""
    return jnp.sum(values, axis=range(1, values.ndim))


def folded_adam(
    learning_rate: Any, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """optax.adam, with both bias corrections in the step size and in eps."""

    def init(params: Any) -> optax.ScaleByAdamState:
        return optax.ScaleByAdamState(
            jnp.zeros((), jnp.int32),
            optax.tree.zeros_like(params),
            optax.tree.zeros_like(params),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.nu, updates)
        root = jnp.sqrt(1 - b2**count)
        size, floor = -learning_rate * root / (1 - b1**count), eps * root
        updates = jax.tree.map(lambda m, v: size * m / (jnp.sqrt(v) + floor), first, second)
        return updates, optax.ScaleByAdamState(count, first, second)

    return optax.GradientTransformation(init, update)


# The first form of each factor is the library's.
FACTORS: dict[str, dict[str, Any]] = {
    "softplus": {"series": softplus, "log1p": jax.nn.softplus},
    "sum": {"product": product_with_ones, "plain": plain_sum},
    "images": {"uint8": lambda images: images, "float32": lambda x: x.astype(np.float32) / 255},
    "adam": {"optax": optax_adam, "folded": folded_adam},
}
Combination = dict[str, str]


@contextlib.contextmanager
def using(combination: Combination) -> Iterator[None]:
    """The library with the forms of a combination, for all that is traced inside."""
    form = {factor: FACTORS[factor][name] for factor, name in combination.items()}
    with (
        mock.patch.object(likelihoods, "softplus", form["softplus"]),
        mock.patch.object(likelihoods, "_sum_over_pixels", form["sum"]),
        mock.patch.object(optax, "adam", form["adam"]),
    ):
        yield


class Program(NamedTuple):
    """A compiled combination: functions that take one measurement, in seconds."""

    train: Callable[[], float]
    evaluate: Callable[[], float]
    loss: float  # of the first stretch, mean over its steps


def compile_program(
    build: Callable[[], Learner], combination: Combination, train: np.ndarray, test: np.ndarray
) -> Program:
    """Traces and compiles an epoch and an evaluation with the forms of a combination."""
    arrange = FACTORS["images"][combination["images"]]
    images, held_out = jax.device_put((arrange(train), arrange(test)))
    with using(combination):
        learner = build()
        state = learner.init(jax.random.key(0))
        state, metrics = learner.epoch(state, images, jax.random.key(1))
        learner.evaluate(state, held_out, jax.random.key(2))
    loss, keys = float(np.mean(metrics["loss"])), itertools.count(3)

    def clock(function: Callable[[Array], Any]) -> tuple[float, Any]:
        key = jax.block_until_ready(jax.random.key(next(keys)))
        start = time.perf_counter()
        out = jax.block_until_ready(function(key))
        return time.perf_counter() - start, out

    def time_training() -> float:
        nonlocal state
        seconds, (state, _) = clock(lambda key: learner.epoch(state, images, key))
        return seconds

    def time_evaluation() -> float:
        return clock(lambda key: learner.evaluate(state, held_out, key))[0]

    return Program(time_training, time_evaluation, loss)


def in_turns(programs: dict[str, Program], turns: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every program, after one unmeasured call of each in every turn."""
    names = list(programs)
    times = {name: {"train": [], "evaluate": []} for name in names}
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            for what in ("train", "evaluate"):
                clock = getattr(programs[name], what)
                clock()
                times[name][what].append(clock())
    return times


def compile_all(
    build: Callable[[], Learner], factors: list[str], train: np.ndarray, test: np.ndarray
) -> dict[str, Program]:
    """All combinations of these factors; of the others, the library's form."""
    forms = [list(names)[: None if factor in factors else 1] for factor, names in FACTORS.items()]
    programs = {}
    for names in itertools.product(*forms):
        combination = dict(zip(FACTORS, names, strict=True))
        programs[" ".join(names)] = compile_program(build, combination, train, test)
        print(f"compiled: {' '.join(names)}", flush=True)
    losses = [program.loss for program in programs.values()]
    if max(losses) - min(losses) > 1e-3 * abs(losses[0]):
        raise SystemExit(f"expected combinations with equal losses, got {losses}")
    return programs


def measure(course: Course, options: argparse.Namespace) -> dict[str, Any]:
    """All combinations of one system."""
    _, dataset = load(course, options.data_dir, None)
    batch = options.batch_size or course.batch_size
    steps = min(options.steps, len(dataset.train.images) // batch)
    train, test = dataset.train.images[: steps * batch], dataset.test.images[: options.held_out]

    def build() -> Learner:
        return getattr(systems, course.name)(batch_size=batch)

    programs = compile_all(build, options.factors, train, test)
    return {"steps": steps, "images": len(test), "times": in_turns(programs, options.turns)}


def table(result: dict[str, Any]) -> str:
    """Milliseconds of each combination and its speed relative to the first one."""
    times, rows = result["times"], []
    base = next(iter(times.values()))
    for name, found in times.items():
        step = [1e3 * seconds / result["steps"] for seconds in found["train"]]
        evaluation = [1e3 * seconds for seconds in found["evaluate"]]
        rows.append(
            (
                name,
                f"{statistics.median(step):.3f}",
                spread(ratios(base["train"], found["train"])),
                f"{statistics.median(evaluation):.2f}",
                spread(ratios(base["evaluate"], found["evaluate"])),
            )
        )
    header = (" ".join(FACTORS), "ms per step", "speed", "ms per evaluation", "speed")
    return markdown(header, rows)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [name for name in COURSES if name.startswith("vae") and name != "vae_animals"]
    parser.add_argument("--systems", nargs="+", choices=names, default=["vae_mnist"])
    parser.add_argument("--factors", nargs="+", choices=FACTORS, default=list(FACTORS))
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--steps", type=int, default=117, help="training steps of a measurement")
    parser.add_argument("--held-out", type=int, default=10_000, help="images of an evaluation")
    parser.add_argument("--batch-size", type=int, help="default: the published one")
    parser.add_argument("--data-dir", help="where prepared sets live, as for the experiments")
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    threads = min(2, os.cpu_count() or 1)
    measuring.pin(threads)  # JAX counts the processors when it is first used
    version = importlib.metadata.version("jaxlib")
    path = measuring.results_path("loss_forms", f"{measuring.processor()} {version}", threads)
    for name in options.systems:
        result = measure(COURSES[name], options)
        print(f"\n{name}, jaxlib {version}\n\n{table(result)}\n", flush=True)
        if not options.no_write:
            kept = json.loads(path.read_text()) if path.exists() else {"systems": {}}
            kept |= {"machine": measuring.machine(threads)}
            kept |= {"versions": measuring.versions(("jax", "jaxlib"))}
            kept["systems"][name] = result
            measuring.write(path, kept)


if __name__ == "__main__":
    main()
