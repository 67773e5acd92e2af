"""Part 7: the memory of one epoch of every system, as XLA plans it."""

from typing import Any

from benchmarks.accelerating.images import labels_of, shape_of
from benchmarks.accelerating.task import Task

IMAGES = 1024


def measure(task: Task) -> None:
    """A row for each system with its published batch."""
    import jax

    from jaxgen import systems

    jax.config.update("jax_default_matmul_precision", task.target.matmul_precision())
    names = systems.__all__[-2:] if task.target.small else systems.__all__
    for name in task.mine(names):
        task.attempt(name, lambda name=name: row(name))


def row(name: str) -> dict[str, Any]:
    """MiB of an epoch's program: what it is given, and what it needs beside that."""
    import jax
    import jax.numpy as jnp

    from jaxgen import systems

    make = getattr(systems, name)
    learner, key = make(), jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((IMAGES, *shape_of(make)), jnp.uint8)
    labels = {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype)
        for name, value in labels_of(make, IMAGES).items()
    }
    state = jax.eval_shape(learner.init, key)
    epoch: Any = learner.epoch
    compiled = epoch.lower(state, images, key, **labels).compile()
    found = compiled.memory_analysis()
    mib = {
        "arguments": found.argument_size_in_bytes / 2**20,
        "temporary": found.temp_size_in_bytes / 2**20,
        "program": found.generated_code_size_in_bytes / 2**20,
    }
    return {"images": IMAGES, "images_per_step": learner.images_per_step, "mib": mib}
