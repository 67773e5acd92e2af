"""Batches inside a compiled program: rows taken by index, and a scan that leaves none out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.learners.data_parallelism import check_divides, num_batch_devices
from jaxgen.types import Array, Metrics, PyTree


def with_labels(labels: Array | None) -> dict[str, Array]:
    """The labels as a keyword argument, where there are any."""
    return {} if labels is None else {"labels": labels}


def take(array: Array | None, indices: Array) -> Any:
    """Rows of an array, for indices that are known to be in range; None for None."""
    return None if array is None else array.at[indices].get(mode="promise_in_bounds")


def scan_batches(
    body: Callable[[PyTree, Array, Array], tuple[PyTree, PyTree]],
    carry: PyTree,
    order: Array,
    batch_size: int,
) -> tuple[PyTree, PyTree]:
    """Scans over consecutive batches of `order`, the last one possibly smaller.

    A smaller last batch is a second instance of `body` in the same program: padding it instead
    would change the statistics of BatchNorm.

    Args:
      body: (carry, index of the batch, entries of `order` in it) -> (carry, output).
      carry: what the first call gets.
      order: [N], N ≥ batch_size.
      batch_size: entries a full batch holds.

    Returns:
      The last carry, and the outputs stacked along a leading axis of ceil(N / batch_size).
    """
    whole, rest = check_batches(order, batch_size)
    batches = order[: whole * batch_size].reshape(whole, batch_size)
    carry, outputs = jax.lax.scan(
        lambda carry, x: body(carry, *x), carry, (jnp.arange(whole), batches)
    )
    if rest:
        carry, last = body(carry, jnp.asarray(whole), order[-rest:])
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), outputs, last)
    return carry, outputs


def scan_some_batches(
    body: Callable[[PyTree, Array, Array], tuple[PyTree, Metrics]],
    carry: PyTree,
    order: Array,
    batch_size: int,
    start: Array | int,
    stop: Array | int | None,
) -> tuple[PyTree, Metrics]:
    """`scan_batches` over the batches start ≤ i < stop, whose outputs are zeros elsewhere.

    `start` and `stop` may be traced, so that one program serves every stretch of an epoch.
    """
    whole, rest = check_batches(order, batch_size)
    num_batches = whole + bool(rest)
    stop = num_batches if stop is None else stop
    batches = order[: whole * batch_size].reshape(whole, batch_size)
    carry, outputs = loop_over_batches(body, carry, batches, start, stop)
    if not rest:
        return carry, outputs

    def skip(carry: PyTree) -> tuple[PyTree, Metrics]:
        return carry, jax.tree.map(lambda values: jnp.zeros_like(values[0]), outputs)

    def last(carry: PyTree) -> tuple[PyTree, Metrics]:
        return body(carry, jnp.asarray(whole), order[-rest:])

    included = (start <= jnp.asarray(whole)) & (jnp.asarray(whole) < stop)
    carry, output = jax.lax.cond(included, last, skip, carry)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), outputs, output)


def check_batches(order: Array, batch_size: int) -> tuple[int, int]:
    """The number of whole batches, and the number of entries that are left.

    Raises:
      UserError: if there is no whole batch, or a whole batch cannot be divided evenly among the
        devices.
    """
    check_divides(batch_size, num_batch_devices())
    whole, rest = divmod(len(order), batch_size)
    if not whole:
        raise UserError(
            f"expected at least one batch of {batch_size} images, got {len(order)} images: "
            "choose a smaller batch size"
        )
    return whole, rest


def mean_over_images(
    of_batch: Callable[[Array, Array], PyTree], num_images: int, batch_size: int
) -> PyTree:
    """Means of what `of_batch` says of each image, in batches of one size.

    Here, unlike in training, images do not affect one another: the last batch is filled up with
    repetitions, which do not count. That halves the program, and the time to compile it.

    Args:
      of_batch: (index of the batch, indices of its images [B]) -> values, each [B].
      num_images: N.
      batch_size: B, at most N.

    Returns:
      Means over the N images, scalars.

    Raises:
      UserError: where there are no images.
    """
    if not num_images:
        raise UserError("expected images to evaluate, got none")
    batch_size = min(batch_size, num_images)
    num_batches = -(-num_images // batch_size)
    positions = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)

    def body(_: None, x: tuple[Array, Array]) -> tuple[None, PyTree]:
        index, position = x
        values = of_batch(index, jnp.minimum(position, num_images - 1))
        counted = position < num_images
        return None, jax.tree.map(lambda value: jnp.sum(jnp.where(counted, value, 0)), values)

    _, sums = jax.lax.scan(body, None, (jnp.arange(num_batches), positions))
    return jax.tree.map(lambda batch_sums: jnp.sum(batch_sums) / num_images, sums)


def full_batches(order: Array, batch_size: int) -> Array:
    """Batches of one size with every entry in them: [N] -> [ceil(N / batch_size), batch_size].

    The last batch is filled up from the start of `order`, so that some entries come twice.
    """
    num_batches = -(-len(order) // batch_size)
    return jnp.resize(order, (num_batches, batch_size))


def loop_over_batches(
    body: Callable[[PyTree, Array, Array], tuple[PyTree, Metrics]],
    carry: PyTree,
    batches: Array,
    start: Array | int,
    stop: Array | int,
) -> tuple[PyTree, Metrics]:
    """A scan over the batches start ≤ i < stop alone, which need not be static.

    One program thus serves every stretch of an epoch. Outputs of the other batches are zeros.
    """
    num_batches = len(batches)
    shapes = jax.eval_shape(lambda carry: body(carry, jnp.asarray(0), batches[0])[1], carry)
    outputs = jax.tree.map(lambda one: jnp.zeros((num_batches, *one.shape), one.dtype), shapes)

    def run(index: Array, both: tuple[PyTree, Metrics]) -> tuple[PyTree, Metrics]:
        carry, outputs = both
        carry, output = body(carry, index, take(batches, index))
        return carry, jax.tree.map(lambda all, one: all.at[index].set(one), outputs, output)

    return jax.lax.fori_loop(start, jnp.minimum(stop, num_batches), run, (carry, outputs))
