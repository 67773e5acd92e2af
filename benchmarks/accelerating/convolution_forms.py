"""Part 3: the layers of benchmarks/layers.py, each product in each form, and the vendor's calls.

Forms: "xla" is what jaxgen uses on an accelerator; "padded" pads the images before a convolution
without padding; "phases" is a convolution of stride 1 over the phases of the images, stacked as
channels (as `convolutions.unit_stride`); "patches" is a product of patches.
"""

import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.accelerating.task import Task, brief
from benchmarks.layers import BATCH, ROWS, Row

PRODUCTS = {"correlate": "kernel gradient", "transpose": "transposed", "convolve": "convolution"}
FORMS = ("xla", "padded", "phases", "patches")
TURNS = 5
CALLS_SECONDS = 0.01  # of calls that are timed together
BACKWARD_FILTER = "convBackwardFilter"


def measure(task: Task) -> None:
    """A row for each layer and product, the kernel gradients of all layers first."""
    import jax

    jax.config.update("jax_default_matmul_precision", task.target.matmul_precision())
    rows = ROWS[5:6] if task.target.small else ROWS
    task.attempt("empty program", empty_program)
    with ThreadPoolExecutor(max(1, min(8, task.target.processors // 2))) as executor:
        for product in PRODUCTS:
            jobs = [(row, form) for row in rows for form in FORMS]
            compiling = {job: executor.submit(program, product, *job) for job in jobs}
            one_product(task, product, rows, compiling)


def empty_program() -> dict[str, float]:
    """What a call takes at least: shorter times below are the time to start a program."""
    import jax
    import jax.numpy as jnp

    argument = jnp.ones(())
    compiled = jax.jit(lambda x, y: x + y).lower(argument, argument).compile()
    clock(compiled, (argument, argument), 10)
    return {"microseconds": 1e6 * clock(compiled, (argument, argument), 200)}


def one_product(task: Task, product: str, rows: list[Row], compiling: dict[Any, Any]) -> None:
    """One product of every layer: the programs' texts first, and then, undisturbed, their times."""
    names = {row: f"{row.name}, {PRODUCTS[product]}" for row in rows}
    for row, name in names.items():
        if task.left < 5:
            task.keep(name, {"skipped": "no time was left"})
            for form in FORMS:
                compiling[row, form].cancel()
            continue
        found = {form: outcome(compiling[row, form].result) for form in FORMS}
        task.keep(name, {form: texts(*result) for form, result in found.items()})
    for row, name in names.items():
        if "skipped" not in task.rows[name] and task.left > 2:
            task.keep(name, timed(task.rows[name], {f: compiling[row, f] for f in FORMS}))


def outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """(result, "") or (None, the exception)."""
    try:
        return call(), ""
    except Exception as error:
        return None, brief(error)


def texts(compiled: Any, error: str) -> dict[str, Any]:
    """The calls of the vendor's libraries in a program."""
    if error:
        return {"error": error}
    calls = re.findall(r'custom_call_target="([^"]+)"', compiled[0].as_text())
    return {"calls": sorted(set(calls)), "backward_filter": BACKWARD_FILTER in "".join(calls)}


def timed(row: dict[str, Any], programs: dict[str, Any]) -> dict[str, Any]:
    """The row with microseconds of each form, in turns, and how far results are apart."""
    import jax
    import numpy as np

    ready = {form: future.result() for form, future in programs.items() if "calls" in row[form]}
    times: dict[str, list[float]] = {form: [] for form in ready}
    counts: dict[str, int] = {}
    reference = None
    for form, (compiled, arguments) in ready.items():
        value = np.asarray(jax.block_until_ready(compiled(*arguments)), np.float64)
        reference = value if reference is None else reference
        row[form]["difference"] = float(np.abs(value - reference).max() / np.abs(reference).max())
        counts[form] = max(2, min(200, round(CALLS_SECONDS / clock(compiled, arguments, 2))))
    for _ in range(TURNS):
        for form, (compiled, arguments) in ready.items():
            times[form].append(clock(compiled, arguments, counts[form]))
    for form, values in times.items():
        row[form]["microseconds"] = 1e6 * statistics.median(values)
    return row


def clock(compiled: Any, arguments: tuple[Any, Any], calls: int) -> float:
    """Seconds of a call, of several that are queued one after another."""
    import jax

    value, start = None, time.perf_counter()
    for _ in range(calls):
        value = compiled(*arguments)
    jax.block_until_ready(value)
    return (time.perf_counter() - start) / calls


def program(product: str, row: Row, form: str) -> tuple[Any, tuple[Any, Any]]:
    """A compiled product of a layer and its arguments."""
    import jax

    geometry, channels = geometry_of(row)
    x = jax.ShapeDtypeStruct((BATCH, *geometry.image, channels[0]), "float32")
    y = jax.ShapeDtypeStruct((BATCH, *geometry.grid, channels[1]), "float32")
    w = jax.ShapeDtypeStruct((*geometry.kernel, *channels), "float32")
    shapes = {"convolve": (x, w), "transpose": (y, w), "correlate": (x, y)}[product]
    keys = jax.random.split(jax.random.key(0), 2)
    arguments = tuple(jax.random.normal(key, s.shape) for key, s in zip(keys, shapes, strict=True))
    function = function_of(product, form, geometry, x, w)
    return jax.jit(function).lower(*arguments).compile(), (arguments[0], arguments[1])


def geometry_of(row: Row) -> tuple[Any, tuple[int, int]]:
    """The strided convolution of a layer, or that which a transposed one transposes."""
    from jaxgen.convolutions.geometry import Geometry

    padding = (row.padding, row.padding)
    size, channels = row.size, (row.channels, row.features)
    if row.transposed:
        size = (row.size - 1) * row.stride - 2 * row.padding + row.kernel
        channels = (row.features, row.channels)
    kernel, strides = (row.kernel, row.kernel), (row.stride, row.stride)
    return Geometry((size, size), kernel, strides, (padding, padding)), channels


def function_of(product: str, form: str, g: Any, x: Any, w: Any) -> Callable:
    """One of the three products as a function of two arrays; two are transposes of the first."""
    import jax
    from jax import lax

    from jaxgen.convolutions.direct import patches
    from jaxgen.convolutions.geometry import convolution
    from jaxgen.convolutions.phases import split, split_kernel

    def convolve(x: Any, w: Any) -> Any:
        if form == "xla":
            return convolution(x, w, g.strides, g.padding)
        if form == "padded":
            edges = ((0, 0, 0), *((p, q, 0) for p, q in g.padding), (0, 0, 0))
            return convolution(lax.pad(x, x.dtype.type(0), edges), w, g.strides, ((0, 0), (0, 0)))
        if form == "patches":
            rows = patches(g, x) @ w.reshape(-1, w.shape[-1])
            return rows.reshape(len(x), *g.grid, -1)
        valid = convolution(split(g, x, g.grid), split_kernel(g, w), (1, 1), ((0, 0), (0, 0)))
        return valid[:, : g.grid[0], : g.grid[1]]

    if product == "convolve":
        return convolve
    if product == "transpose":
        return lambda y, w: jax.linear_transpose(lambda x: convolve(x, w), x)(y)[0]
    return lambda x, y: jax.linear_transpose(lambda w: convolve(x, w), w)(y)[0]
