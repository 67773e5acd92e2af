"""jaxgen's sides of the race: one call per step, and one call per epoch."""

import resource
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.racing.course import Course, check_noise
from benchmarks.racing.devices import Choice, jax_matmul_precision
from jaxgen import learners, systems
from jaxgen.types import Array, Learner

SIDES = ("jaxgen_step", "jaxgen_epoch")


class Jaxgen:
    """One system on one of SIDES; its methods answer a worker's orders."""

    def __init__(self, side: str, course: Course, choice: Choice, folder: Path, steps: int):
        self.side, self.course, self.steps = side, course, steps
        jax.config.update("jax_default_matmul_precision", jax_matmul_precision(choice))
        self.learner = learner_of(course, choice)
        images = np.load(folder / "train.npy")[: steps * course.images_per_step]
        self.images = jax.device_put(images)
        self.test = jax.device_put(np.load(folder / "test.npy"))
        self.restart()
        self.metrics: dict[str, Array] = {}

    def facts(self) -> dict[str, Any]:
        """What both sides must have alike."""
        leaves = jax.tree.leaves(self.state.params)
        return {"parameters": sum(leaf.size for leaf in leaves)}

    def restart(self) -> None:
        """The initial state, which PyTorch's weights were made from."""
        self.state = self.learner.init(jax.random.key(0))
        self.key = jax.random.key(1)

    def measure(self) -> float:
        """Seconds of one stretch."""
        self.key, key = jax.random.split(self.key)
        jax.block_until_ready((self.state, key))
        start = time.perf_counter()
        if self.side == "jaxgen_epoch":
            self.state, self.metrics = self.learner.epoch(self.state, self.images, key)
        else:
            order, keys = plan(key, len(self.images), self.steps)
            for index in range(self.steps):
                images, step_key = pick(self.images, order, keys, index)
                self.state, self.metrics = self.learner.step(self.state, images, step_key)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """Metrics of the newest step."""
        return {name: float(value.ravel()[-1]) for name, value in self.metrics.items()}

    def held_out(self) -> float:
        """The loss of the test images, mean over the images."""
        return float(self.learner.evaluate(self.state, self.test, jax.random.key(2))["loss"])

    def peak(self) -> float:
        """The rate of large matrix products, in operations per second."""
        size = 2048 if jax.default_backend() == "cpu" else 8192
        a, b = jax.random.normal(jax.random.key(0), (2, size, size))
        product = jax.jit(jnp.matmul)
        product(a, b).block_until_ready()
        best = float("inf")
        for _ in range(10):
            start = time.perf_counter()
            product(a, b).block_until_ready()
            best = min(best, time.perf_counter() - start)
        return 2 * size**3 / best

    def memory(self) -> float:
        """Peak memory, MiB."""
        return peak_memory()


class Population:
    """Many seeds of one system at once.

    "jaxgen_vmap" is jax.vmap over the learner's epoch; "jaxgen_devices" is `learners.population`
    over one CPU device for each thread.
    """

    def __init__(
        self,
        side: str,
        course: Course,
        choice: Choice,
        folder: Path,
        steps: int,
        population: int,
        threads: int,
    ):
        if side == "jaxgen_devices":
            jax.config.update("jax_num_cpu_devices", threads)
        jax.config.update("jax_default_matmul_precision", jax_matmul_precision(choice))
        learner = learner_of(course)
        images = np.load(folder / "train.npy")[: steps * course.images_per_step]
        self.images = jax.device_put(images)
        self.key, key = jax.random.split(jax.random.key(0))
        self.population = population
        keys = jax.random.split(key, population)
        if side == "jaxgen_devices":
            members = learners.population(lambda: learner_of(course), num_members=population)
            self.state, self.epoch = members.init(keys), members.epoch
        else:
            self.state = jax.vmap(learner.init)(keys)
            self.epoch = jax.jit(jax.vmap(learner.epoch, in_axes=(0, None, 0)), donate_argnums=0)
        self.metrics: dict[str, Array] = {}

    def measure(self) -> float:
        """Seconds of one measurement of the whole population."""
        self.key, key = jax.random.split(self.key)
        jax.block_until_ready((self.state, key))
        start = time.perf_counter()
        keys = jax.random.split(key, self.population)
        self.state, self.metrics = self.epoch(self.state, self.images, keys)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """The newest metrics, mean over the population."""
        return {name: float(value[:, -1].mean()) for name, value in self.metrics.items()}

    def memory(self) -> float:
        """Peak memory, MiB."""
        return peak_memory()


@jax.jit
def pick(images: Array, order: Array, keys: Array, index: int) -> tuple[Array, Array]:
    """Images and key of one step."""
    return images[order[index]], keys[index]


def peak_memory() -> float:
    """Peak memory in MiB, of the device if it has its own memory."""
    statistics = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics and jax.default_backend() != "cpu":
        return statistics["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def plan(key: Array, num_images: int, steps: int) -> tuple[Array, Array]:
    """The order of an epoch, [steps, images per step], and a key for each step."""
    shuffle_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(shuffle_key, num_images).reshape(steps, -1)
    return order, jax.random.split(steps_key, steps)


def learner_of(course: Course, choice: Choice | None = None) -> Learner:
    """The system with its published hyper-parameters, in the precision of a choice."""
    precision = "bfloat16" if choice and choice.precision == "bf16" else "float32"
    return getattr(systems, course.name)(batch_size=course.batch_size, precision=precision)


def losses(course: Course, images: np.ndarray, steps: int) -> list[dict[str, float]]:
    """Metrics of the first steps on one set of images, with the noise that both sides share.

    The noise of training comes from jax.random.normal alone, and in the one place where a learner
    of its own is traced, that gives the shared numbers.
    """

    def normal(key: Array, shape: tuple[int, ...] = (), dtype: Any = float) -> Array:
        del key
        return jnp.asarray(check_noise(shape), dtype)

    learner = learner_of(course)
    state = learner.init(jax.random.key(0))  # before the numbers are fixed
    found = []
    with mock.patch.object(jax.random, "normal", normal):
        for _ in range(steps):
            state, metrics = learner.step(state, images, jax.random.key(0))
            found.append({name: float(value) for name, value in metrics.items()})
    return found
