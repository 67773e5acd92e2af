"""The devices of a run: one, or several that share every batch."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.learners import BATCH_AXIS
from jaxgen.runs.backend import first_device
from jaxgen.types import PyTree

NumDevices = int | Literal["all"]


def provide(devices: NumDevices) -> str | None:
    """Has as many CPU devices made as are asked for, where JAX has not started yet.

    Returns:
      A remark for the user, or None.

    Raises:
      UserError: it is no number of devices, or there are fewer.
    """
    if devices == "all":
        first_device()
        return None
    number = _checks.whole_number("--devices", devices)
    if number > 1:
        _make_cpu_devices(number)
    platform, found = first_device().platform, jax.local_device_count()
    if number > found:
        remedy = f"pass --devices {found}, or all"
        if platform == "cpu":
            remedy = (
                "JAX has started already; call "
                f'jax.config.update("jax_num_cpu_devices", {number}) before anything is computed'
            )
        raise UserError(f"expected at most {found} devices, which JAX has, got {number}: {remedy}")
    cores = _num_cores()
    if platform == "cpu" and number > cores:
        return f"{number} CPU devices share {cores} cores: fewer would be faster"
    return None


def provide_one_for_each_core() -> None:
    """Has a CPU device made for each core, where JAX has not started yet and runs on a CPU."""
    _make_cpu_devices(_num_cores())
    first_device()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _make_cpu_devices(number: int) -> None:
    try:
        jax.config.update("jax_num_cpu_devices", number)
        # Programs that wait for each other must not wait for a thread as well.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    except RuntimeError:  # JAX has started
        pass


class Devices:
    """Where the arrays of a run are.

    Args:
      devices: how many of those that each process has; "all" for all.

    Attributes:
      count: how many are used, by all processes.
    """

    def __init__(self, devices: NumDevices):
        of_process = jax.local_device_count() if devices == "all" else int(devices)
        chosen = [
            device
            for process in range(jax.process_count())
            for device in [d for d in jax.devices() if d.process_index == process][:of_process]
        ]
        self.count = len(chosen)
        self._mesh: Mesh | None = None
        if self.count > 1:
            self._mesh = Mesh(np.array(chosen), (BATCH_AXIS,), axis_types=(AxisType.Auto,))

    def context(self) -> AbstractContextManager[Any]:
        """In which a learner divides its batches."""
        return nullcontext() if self._mesh is None else jax.set_mesh(self._mesh)

    def part(self, num_rows: int) -> slice:
        """The rows of a batch that the devices of this process need: see `put`."""
        if num_rows % self.count:
            return slice(0, num_rows)
        of_process = num_rows // jax.process_count()
        first = jax.process_index() * of_process
        return slice(first, first + of_process)

    def put(self, rows: np.ndarray, num_rows: int) -> jax.Array:
        """The rows that `part` names as a batch that is divided among the devices.

        A batch that cannot be divided evenly is on every device.
        """
        if self._mesh is None or num_rows % self.count:
            return self.everywhere(rows)
        divided = NamedSharding(self._mesh, PartitionSpec(BATCH_AXIS))
        shape = (num_rows, *rows.shape[1:])
        return jax.make_array_from_process_local_data(divided, rows, shape)

    def everywhere(self, arrays: PyTree) -> PyTree:
        """The arrays on every device."""
        if self._mesh is None:
            return jax.device_put(arrays)
        return _placed(arrays, NamedSharding(self._mesh, PartitionSpec()))

    def divided(self, rows: np.ndarray) -> jax.Array:
        """An array of which each device has its part, where their number divides that of rows."""
        if self._mesh is None or len(rows) % self.count:
            return self.everywhere(rows)
        return _placed(rows, NamedSharding(self._mesh, PartitionSpec(BATCH_AXIS)))

    def one_copy(self, arrays: PyTree) -> PyTree:
        """The arrays as they are on the first device of this process, without a copy."""
        if self._mesh is None:
            return arrays
        return jax.tree.map(lambda x: x.addressable_data(0), arrays)


def _placed(arrays: PyTree, sharding: NamedSharding) -> PyTree:
    if jax.process_count() == 1:
        return jax.device_put(arrays, sharding)

    def of_all_processes(array: Any) -> jax.Array:
        values = np.asarray(array)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(of_all_processes, arrays)
