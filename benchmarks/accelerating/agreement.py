"""Part 1: every system runs on the device and agrees with the CPU.

After its first step a system can amplify rounding: Adam divides a gradient by its size, so one near
zero gives a whole step in a direction that its last bits decide. So the CPU also trains from
weights whose last bit is changed, and the device may be as far from the CPU as these runs are, or
twice.
"""

from functools import partial
from typing import Any

from benchmarks.accelerating.images import labels_of, noise, shape_of
from benchmarks.accelerating.task import Task
from benchmarks.racing.agreement import FIRST_TOLERANCE, LATER_TOLERANCE, SMALLEST_SCALE

STEPS = 3
BATCH = 16
SAMPLES = 4
SAMPLE_TOLERANCE = 1e-4  # of pixels in [0, 1], from the same weights
SIZE = 1024
ROUNDING = 2.0  # times the difference that the last bit of the weights makes on the CPU
DRAWS = 4  # of the weights that are changed: one draw's difference can be a tenth of another's
# Of a product of SIZE x SIZE normal numbers against float64, root mean square over that of the
# result: float32 gives 2e-7 to 1e-6, TF32 3e-4.
FLOAT32_ERROR = 1e-5
TOLERANCES = {
    "first step": FIRST_TOLERANCE,
    "later steps": LATER_TOLERANCE,
    "samples": SAMPLE_TOLERANCE,
    "product in float32": FLOAT32_ERROR,
}


def measure(task: Task) -> None:
    """A row for each system, and one for the precision of products."""
    import jax

    from jaxgen import systems

    jax.config.update("jax_default_matmul_precision", task.target.matmul_precision())
    names = systems.__all__[:2] if task.target.small else systems.__all__
    for name in task.mine(["precision", *names]):
        task.attempt(name, precision if name == "precision" else lambda name=name: system(name))


def system(name: str) -> dict[str, Any]:
    """How far three steps on the device and on the CPU are apart, and samples.

    Metrics are compared relative to the largest of their step, as the race does. Both sides start
    from the CPU's weights and draw the same random numbers; samples are drawn from these weights.
    "rounding" is how far the CPU is from itself where the last bit of the weights is changed, the
    largest of DRAWS.
    """
    import jax
    import numpy as np

    from jaxgen import systems

    make = getattr(systems, name)
    learner, key = make(batch_size=BATCH), jax.random.key(0)
    images = noise(learner.images_per_step, shape_of(make))
    labels = labels_of(make, len(images))
    with jax.default_device(jax.devices("cpu")[0]):
        initial = jax.tree.map(np.asarray, learner.init(key))

    def on(device: Any, initial: Any) -> tuple[list[dict[str, float]], Any]:
        with jax.default_device(device):
            samples = np.asarray(learner.sample(initial, SAMPLES, jax.random.key(9)))
            state, found = jax.device_put(initial, device), []
            for index in range(STEPS):
                state, metrics = learner.step(state, images, jax.random.key(index), **labels)
                found.append({name: float(value) for name, value in metrics.items()})
        return found, samples

    cpu = jax.devices("cpu")[0]
    ours, samples = on(jax.devices()[0], initial)
    theirs, expected = on(cpu, initial)
    differences = [relative(*both) for both in zip(ours, theirs, strict=True)]
    rounding = [0.0] * STEPS
    for draw in range(DRAWS):
        params = jax.tree.map(partial(last_bit_changed, draw), initial.params)
        changed, _ = on(cpu, initial._replace(params=params))
        found = [relative(*both) for both in zip(changed, theirs, strict=True)]
        rounding = [max(pair) for pair in zip(rounding, found, strict=True)]
    of_samples = float(np.abs(samples - expected).max())
    return {
        "agrees": within(differences, rounding) and of_samples <= SAMPLE_TOLERANCE,
        "differences": differences,
        "rounding": rounding,
        "samples": of_samples,
        "metrics": ours[-1],
    }


def last_bit_changed(draw: int, weights: Any) -> Any:
    """Every other weight, by chance, moved to the next larger number."""
    import numpy as np

    chosen = np.random.default_rng(draw).random(weights.shape) < 0.5
    return np.where(chosen, np.nextafter(weights, np.inf, dtype=weights.dtype), weights)


def within(differences: list[float], rounding: list[float]) -> bool:
    """Whether each step's difference is within its tolerance, or explained by rounding."""
    tolerances = [FIRST_TOLERANCE, *[LATER_TOLERANCE] * (len(differences) - 1)]
    return all(
        difference <= max(tolerance, ROUNDING * rounded)
        for difference, tolerance, rounded in zip(differences, tolerances, rounding, strict=True)
    )


def relative(ours: dict[str, float], theirs: dict[str, float]) -> float:
    """The largest difference of two steps' metrics over their largest metric; NaN counts as 1."""
    scale = max(SMALLEST_SCALE, *(abs(value) for value in theirs.values()))
    differences = [abs(ours[name] - value) / scale for name, value in theirs.items()]
    return max(difference if difference == difference else 1.0 for difference in differences)


def precision() -> dict[str, Any]:
    """Errors of a product and of a convolution in each precision that the races ask for."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, SIZE, SIZE), np.float32)
    images = rng.standard_normal((8, 16, 16, 64), np.float32)
    kernel = rng.standard_normal((3, 3, 64, 64), np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)

    def convolution(images: Any, kernel: Any) -> Any:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=layout
        )

    patches = np.lib.stride_tricks.sliding_window_view(images.astype(np.float64), (3, 3), (1, 2))
    exact_convolution = np.einsum("nhwcab,abcf->nhwf", patches, kernel.astype(np.float64))

    def error(value: Any, exact: np.ndarray) -> float:
        difference = np.asarray(value, np.float64) - exact
        return float(np.sqrt(np.mean(difference**2) / np.mean(exact**2)))

    found: dict[str, Any] = {}
    for name in ("highest", "tensorfloat32"):
        with jax.default_matmul_precision(name):
            found[name] = {
                "product": error(jax.jit(jnp.matmul)(a, b), exact),
                "convolution": error(jax.jit(convolution)(images, kernel), exact_convolution),
            }
    found["agrees"] = max(found["highest"].values()) <= FLOAT32_ERROR
    return found
