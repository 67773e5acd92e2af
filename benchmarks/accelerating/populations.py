"""Part 5: many seeds of one system at once, by jax.vmap over its init and epoch."""

import statistics
import time
from typing import Any

from benchmarks.accelerating.images import noise
from benchmarks.accelerating.task import Task

SYSTEM = "vae_mnist"
SEEDS = (1, 8, 64, 512)
BATCH = 128
STEPS = 50
TURNS = 3


def measure(task: Task) -> None:
    """A row for each number of seeds: seconds of a stretch of steps of all of them."""
    import jax

    jax.config.update("jax_default_matmul_precision", task.target.matmul_precision())
    for seeds in task.mine((1, 4) if task.target.small else SEEDS):
        task.attempt(str(seeds), lambda seeds=seeds: row(task, seeds))


def row(task: Task, seeds: int) -> dict[str, Any]:
    """Milliseconds of a step of one member, and what compiling took."""
    import jax

    from benchmarks.racing.jaxgen_sides import peak_memory
    from jaxgen import systems

    steps = 2 if task.target.small else STEPS
    learner = getattr(systems, SYSTEM)(batch_size=BATCH)
    images = jax.device_put(noise(steps * BATCH, learner.image_shape))
    state = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), seeds))
    epoch = jax.jit(jax.vmap(learner.epoch, in_axes=(0, None, 0)), donate_argnums=0)
    seconds, metrics = [], {}
    for turn in range(TURNS + 2):
        keys = jax.random.split(jax.random.key(turn), seeds)
        jax.block_until_ready((state, keys))
        start = time.perf_counter()
        state, metrics = epoch(state, images, keys)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
    measured = seconds[2:]
    return {
        "system": SYSTEM,
        "seeds": seeds,
        "steps": steps,
        "seconds": measured,
        "ms_per_member_step": 1e3 * statistics.median(measured) / (steps * seeds),
        "compile_seconds": max(0.0, seconds[0] - seconds[1]),
        "peak_mib": peak_memory(),
        "loss": float(metrics["loss"][:, -1].mean()),
    }
