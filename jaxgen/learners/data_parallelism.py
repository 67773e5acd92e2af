"""Batches divided among devices.

Under a mesh with an axis of the name `BATCH_AXIS` (`jax.set_mesh`) the batches of every learner are
divided along it; XLA's partitioner divides the computations that depend on them, and sums over the
devices wherever a step sums or averages over a batch. Loss, gradients and the statistics of
BatchNorm are those of the whole batch, and random numbers do not depend on the number of devices.
"""

from typing import Any

import jax
from jax.sharding import PartitionSpec

from jaxgen.errors import UserError
from jaxgen.types import Array

BATCH_AXIS = "batch"


def num_batch_devices() -> int:
    """How many parts a batch has under the mesh in context; 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[BATCH_AXIS] if BATCH_AXIS in mesh.axis_names else 1


def divided(batch: Array | None) -> Any:
    """The batch, divided along its leading axis where there is a mesh to divide it by."""
    if batch is None or num_batch_devices() == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, PartitionSpec(BATCH_AXIS))


def check_divides(batch_size: int, num_devices: int) -> None:
    """Raises UserError where a batch does not have equally many images for each device."""
    if batch_size % num_devices:
        below = batch_size // num_devices * num_devices
        above = below + num_devices
        nearest = above if not below or above - batch_size < batch_size - below else below
        raise UserError(
            f"expected a batch size that is a multiple of the {num_devices} devices, got "
            f"{batch_size}: the nearest is {nearest} images"
        )
