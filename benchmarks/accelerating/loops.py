"""Part 4: the loop of an epoch: command buffers with and without WHILE, and unrolled scans.

Learners loop over steps without an argument for unrolling, so the scans here are bare ones of a
learner's step.
"""

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.accelerating import workers
from benchmarks.accelerating.images import noise
from benchmarks.accelerating.task import Task
from benchmarks.racing.course import COURSES

SYSTEMS = ("vae_mnist", "wgan_mnist")
UNROLLS = (1, 4, 16)
STEPS = 160
TURNS = 7


def measure(task: Task) -> None:
    """A row for each system and variant, measured in turns."""
    target = task.target
    pool = workers.Pool(str(Path(__file__).parents[1] / "accelerator.py"))
    steps = 4 if target.small else STEPS
    variants: dict[str, tuple[dict[str, Any], str]] = {}
    for system in SYSTEMS[: 1 if target.small else None]:
        for name, flag in target.command_buffers.items():
            variants[f"{system}, epoch, command buffers {name}"] = ({"system": system}, flag)
    for unroll in UNROLLS[: 2 if target.small else None]:
        words = {"system": SYSTEMS[0], "unroll": unroll}
        variants[f"{SYSTEMS[0]}, bare scan, unroll {unroll}"] = (words, "")
    try:
        for name, (words, flag) in variants.items():
            words = {"kind": "loop", "steps": steps, **words}
            words["precision"] = target.matmul_precision()
            pool.start(name, words, target.environment(flag))
        orders = {name: {"call": "open"} for name in variants}
        opened = pool.ask_all(orders, 0.8 * task.left, at_once=target.at_once)
        running = [name for name in variants if not isinstance(opened[name], workers.Failed)]
        times = {name: [] for name in running}
        for name in variants.keys() - set(running):
            task.keep(name, {"error": str(opened[name])})
        for turn in range(2 if target.small else TURNS):
            first = turn % max(1, len(running))
            for name in running[first:] + running[:first]:
                try:
                    times[name].append(pool.ask(name, {"call": "measure"}))
                except workers.Failed as failed:
                    task.keep(name, {"error": str(failed)})
            running = [name for name in running if name not in task.rows]
        for name in running:
            ms = 1e3 * statistics.median(times[name]) / steps
            row = {"ms_per_step": ms, "seconds": times[name], "steps": steps}
            task.keep(name, row | opened[name])
    finally:
        pool.close()


class Loop:
    """The worker: an epoch of a learner, or a bare scan of its step."""

    def __init__(self, words: dict[str, Any]):
        import jax

        jax.config.update("jax_default_matmul_precision", words["precision"])
        self.words, self.turn = words, 0

    def __call__(self, order: dict[str, Any]) -> Any:
        """Answers {"call": method}."""
        return getattr(self, order["call"])()

    def open(self) -> dict[str, Any]:
        """Compiles."""
        import jax

        from benchmarks.racing.jaxgen_sides import learner_of

        course, steps = COURSES[self.words["system"]], self.words["steps"]
        learner = learner_of(course)
        self.images = jax.device_put(noise(steps * course.images_per_step, learner.image_shape))
        self.state = learner.init(jax.random.key(0))
        self.loop = learner.epoch
        if "unroll" in self.words:
            self.loop = bare_scan(learner, steps, self.words["unroll"])
        first, second = self.measure(), self.measure()
        return {"compile_seconds": max(0.0, first - second)}

    def measure(self) -> float:
        """Seconds of the loop."""
        import jax

        self.turn += 1
        key = jax.random.key(self.turn)
        jax.block_until_ready((self.state, key))
        start = time.perf_counter()
        self.state, metrics = self.loop(self.state, self.images, key)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - start


def bare_scan(learner: Any, steps: int, unroll: int) -> Any:
    """(state, images, key) -> (state, metrics): the learner's step in one scan."""
    import jax

    def loop(state: Any, images: Any, key: Any) -> Any:
        shuffle_key, steps_key = jax.random.split(key)
        order = jax.random.permutation(shuffle_key, len(images)).reshape(steps, -1)

        def step(state: Any, x: Any) -> Any:
            rows, step_key = x
            return learner.step(state, images[rows], step_key)

        return jax.lax.scan(step, state, (order, jax.random.split(steps_key, steps)), unroll=unroll)

    return jax.jit(loop, donate_argnums=0)
