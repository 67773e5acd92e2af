"""Part 2: the systems that have a twin in PyTorch, in turns, one precision after the other.

Each library has a process for each system. The sides of a few systems compile beside one another;
then one side at a time is measured: while it is, the others wait for an order.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accelerating import workers
from benchmarks.accelerating.images import DATA, noise, shape_of
from benchmarks.accelerating.target import Target
from benchmarks.accelerating.task import Task
from benchmarks.racing.agreement import CHECK_STEPS, disagreement
from benchmarks.racing.course import COURSES, Course, save_images
from benchmarks.racing.devices import Choice

TURNS = 5
# Steps of one stretch: a few tenths of a second for the slowest side of each on an H100.
STEPS = {"vae_animals": 8, "vae_flowers": 15, "dcgan_mnist": 40, "wgan_mnist": 60}
STEPS_OF_OTHERS = 150
EPOCH_IMAGES = {"vae_flowers": 1020, "vae_animals": 1020}  # others have 60,000
COMPILING = 0.5  # the share of the time that is left after which no side is waited for
# Systems that compile beside one another. Both libraries choose a GPU's kernels by timing them:
# with 28 processes on 16 processors that took minutes, and disturbs the choice.
SYSTEMS_AT_ONCE = 2


def measure(task: Task) -> None:
    """A row for each precision: {"systems": {name: entry}} as in the race's own files."""
    courses = [COURSES[name] for name in (("vae_mnist",) if task.target.small else COURSES)]
    script = str(Path(__file__).parents[1] / "accelerator.py")
    with tempfile.TemporaryDirectory(prefix="accelerator-") as folder:
        pool = workers.Pool(script)
        try:
            for course in courses:
                for library in libraries(task.target):
                    start(pool, task.target, course, library, Path(folder))
            for course in courses:
                prepare(task, course, Path(folder) / course.name)
            pool.ask_all({name: {"call": "ready"} for name in pool.workers}, COMPILING * task.left)
            for precision in task.target.precisions:
                if precision == "float32" or task.left > 30:
                    one_precision(task, pool, courses, precision)
                else:
                    task.keep(precision, {"skipped": "no time was left"})
        finally:
            pool.close()


def libraries(target: Target) -> list[str]:
    """Those that a target's sides belong to, in order."""
    return list(dict.fromkeys(map(library_of, target.sides)))


def library_of(side: str) -> str:
    """The library that a side belongs to: torch or jaxgen."""
    return side.split("_")[0]


def steps_of(target: Target, course: Course) -> int:
    """Steps of one stretch."""
    return 2 if target.small else STEPS.get(course.name, STEPS_OF_OTHERS)


def start(pool: workers.Pool, target: Target, course: Course, library: str, folder: Path) -> None:
    """A worker of one library for one system."""
    words = {
        "kind": "side",
        "library": library,
        "course": course.name,
        "folder": str(folder / course.name),
        "steps": steps_of(target, course),
        "processors": target.processors,
    }
    environment = target.environment()
    if library == "torch":
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor" / course.name)
    pool.start(worker_of(course, library), words, environment)


def worker_of(course: Course, side: str) -> str:
    """The name of the worker of a side, or of a library."""
    return f"{course.name} {library_of(side)}"


def prepare(task: Task, course: Course, folder: Path) -> None:
    """Images for every side and initial weights for PyTorch's, made on the CPU."""
    import jax

    from benchmarks.racing.jaxgen_sides import learner_of
    from benchmarks.racing.preparing import save_weights
    from jaxgen import systems

    folder.mkdir(parents=True)
    shape = shape_of(getattr(systems, course.name))
    images = noise(steps_of(task.target, course) * course.images_per_step, shape)
    save_images(folder, images, images[: 2 * course.images_per_step])
    with jax.default_device(jax.devices("cpu")[0]):
        state = jax.tree.map(np.asarray, learner_of(course).init(jax.random.key(0)))
    save_weights(course, state, shape[-1], folder)


def one_precision(task: Task, pool: workers.Pool, courses: list[Course], precision: str) -> None:
    """A few systems at a time: their sides prepare themselves, then are measured and kept."""
    kept: dict[str, Any] = {"data": DATA, "systems": {}}
    for index in range(0, len(courses), SYSTEMS_AT_ONCE):
        some = courses[index : index + SYSTEMS_AT_ONCE]
        opened = {} if task.left < 10 else open_sides(task, pool, some, precision)
        for course in some:
            if task.left < 3 or not opened:
                kept["systems"][course.name] = {"skipped": "no time was left"}
            else:
                kept["systems"][course.name] = entry(task, pool, course, precision, opened)
            task.keep(precision, kept)


def open_sides(
    task: Task, pool: workers.Pool, courses: list[Course], precision: str
) -> dict[tuple[str, str], Any]:
    """(system, side) -> its facts. A library's sides are opened one after the other.

    So the second finds the kernels that were chosen for the first.
    """
    opened: dict[tuple[str, str], Any] = {}
    of_each = [
        [side for side in task.target.sides if library_of(side) == library]
        for library in libraries(task.target)
    ]
    for sides in zip(*of_each, strict=True):
        orders = {}
        for course in courses:
            choice = task.target.choice(course, precision)._asdict()
            for side in sides:
                orders[worker_of(course, side)] = {"call": "open", "with": [side, choice]}
        answers = pool.ask_all(orders, COMPILING * task.left)
        for course in courses:
            opened |= {(course.name, side): answers[worker_of(course, side)] for side in sides}
    return opened


def entry(
    task: Task,
    pool: workers.Pool,
    course: Course,
    precision: str,
    opened: dict[tuple[str, str], Any],
) -> dict[str, Any]:
    """One system: seconds of every side in turns, and whether the sides start alike."""
    facts = {side: opened[course.name, side] for side in task.target.sides}
    failures = {side: str(f) for side, f in facts.items() if isinstance(f, workers.Failed)}
    running = [side for side in facts if side not in failures]
    times: dict[str, list[float]] = {side: [] for side in running}
    for turn in range(2 if task.target.small else TURNS):
        first = turn % max(1, len(running))
        for side in running[first:] + running[:first]:
            try:
                order = {"call": "measure", "with": [side]}
                times[side].append(pool.ask(worker_of(course, side), order))
            except workers.Failed as failed:
                failures[side] = str(failed)
        running = [side for side in running if side not in failures]
    sides = {}
    for side in running:
        ended = pool.ask(worker_of(course, side), {"call": "end", "with": [side]})
        about = {key: v for key, v in facts[side].items() if key != "losses"}
        sides[side] = {"seconds": times[side], **about, **ended}
    steps = steps_of(task.target, course)
    images = EPOCH_IMAGES.get(course.name, 60_000)
    return {
        "settings": task.target.choice(course, precision)._asdict(),
        "batch_size": course.batch_size,
        "images_per_step": course.images_per_step,
        "steps": steps,
        "epoch_steps": course.epoch_steps(images),
        "disagreement": compared(facts, precision),
        "sides": sides,
        "failures": failures,
    }


def compared(facts: dict[str, Any], precision: str) -> list[str]:
    """How the first losses of both libraries differ; those of less than float32 are not checked."""
    known = {
        side: f["losses"]
        for side, f in facts.items()
        if not isinstance(f, workers.Failed) and f["losses"]
    }
    if precision != "float32" or len(known) < 2:
        return ["not compared"]
    ours, theirs = known["jaxgen_step"], known["torch_eager"]
    return disagreement(ours, theirs)


class Library:
    """A worker process: runs one library's sides of one system, in each precision in turn."""

    def __init__(self, words: dict[str, Any]):
        self.course = COURSES[words["course"]]
        self.folder, self.steps = Path(words["folder"]), words["steps"]
        self.runners: dict[str, Any] = {}
        if words["library"] == "torch":
            import torch

            torch.set_num_threads(min(2, words["processors"]))
        else:
            import jax

            jax.devices()

    def __call__(self, order: dict[str, Any]) -> Any:
        """Answers {"call": method, "with": arguments}."""
        return getattr(self, order["call"])(*order.get("with", ()))

    def ready(self) -> bool:
        """True, once its library is imported."""
        return True

    def open(self, side: str, words: dict[str, Any]) -> dict[str, Any]:
        """Loads and compiles; falls back to PyTorch's default mode where CUDA graphs cannot be."""
        choice = Choice(**words)
        try:
            return self._opened(side, choice)
        except Exception as error:
            if side != "torch_compile" or choice.compile_mode is None:
                raise
            print(f"{self.course.name}: {choice.compile_mode} failed: {error}"[:500], flush=True)
            found = self._opened(side, choice._replace(compile_mode=None))
            return found | {"without_cuda_graphs": str(error)[:200]}

    def _opened(self, side: str, choice: Choice) -> dict[str, Any]:
        self.runners.pop(side, None)
        losses = []
        if library_of(side) == "torch":
            import torch

            from benchmarks.racing.torch_sides import Torch

            torch._dynamo.reset()
            runner: Any = Torch(side, self.course, choice, self.folder, self.steps)
            if side == "torch_eager":
                losses = runner.losses(CHECK_STEPS)
        else:
            from benchmarks.racing import jaxgen_sides

            runner = jaxgen_sides.Jaxgen(side, self.course, choice, self.folder, self.steps)
            if side == "jaxgen_step" and choice.precision == "float32":
                images = np.load(self.folder / "test.npy")[: self.course.images_per_step]
                losses = jaxgen_sides.losses(self.course, images, CHECK_STEPS)
        self.runners[side] = runner
        first, second = (runner.measure() for _ in range(2))
        return {
            "compile_seconds": max(0.0, first - second),
            "compile_mode": choice.compile_mode if side == "torch_compile" else None,
            "parameters": runner.facts()["parameters"],
            "losses": losses,
        }

    def measure(self, side: str) -> float:
        """Seconds of one stretch."""
        return self.runners[side].measure()

    def end(self, side: str) -> dict[str, Any]:
        """The last losses, and why CUDA graphs were left out, if they were."""
        found: dict[str, Any] = {"last": self.runners[side].last()}
        if side == "torch_compile":
            from torch._dynamo.utils import counters

            found["cuda_graph_skips"] = counters["inductor"]["cudagraph_skips"]
        return found
