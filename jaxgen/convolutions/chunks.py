"""Processes a batch in chunks whose temporaries fit into the processor's cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

# Limit on the temporaries of a chunk. A larger temporary is written to memory and read back, and
# the page faults of fresh memory cost more than the arithmetic.
CHUNK_BYTES = 4 << 20


def chunk_size(batch: int, bytes_per_image: int, kernel_bytes: int) -> int:
    """Images per chunk: the largest power of two whose temporaries stay in the cache.

    A kernel larger than the limit is read once per chunk; the temporaries may then be as large.
    """
    fitting = max(1, max(CHUNK_BYTES, kernel_bytes) // max(1, bytes_per_image))
    return batch if batch <= fitting else 1 << (fitting.bit_length() - 1)


def _split(chunk: int, arrays: tuple[Array, ...]):
    whole = arrays[0].shape[0] // chunk * chunk
    chunks = tuple(a[:whole].reshape(-1, chunk, *a.shape[1:]) for a in arrays)
    return chunks, tuple(a[whole:] for a in arrays) if whole < arrays[0].shape[0] else None


def map_chunks(f: Callable[..., Array], chunk: int, *arrays: Array) -> Array:
    """Computes f(*arrays) in chunks, for an f that maps over the batch axis."""
    if chunk >= arrays[0].shape[0]:
        return f(*arrays)
    chunks, rest = _split(chunk, arrays)
    out = lax.map(lambda args: f(*args), chunks)
    out = out.reshape(-1, *out.shape[2:])
    return out if rest is None else jnp.concatenate([out, f(*rest)])


def sum_chunks(
    f: Callable[[Array, Array], Array],
    chunk: int,
    x: Array,
    y: Array,
    arrange: Callable[[Array], Array] = lambda y: y,
) -> Array:
    """Computes f(x, arrange(y)) in chunks, for an f that sums over the batch axis.

    All chunks of y are arranged before the loop: XLA would fuse a transposition inside the loop
    into the matrix product, which then takes 1.5 times as long.
    """
    if chunk >= x.shape[0]:
        return f(x, arrange(y))
    (xs, ys), rest = _split(chunk, (x, y))
    ys = jax.vmap(arrange)(ys)
    # The sum starts from zeros, not from the first chunk: a loop over a slice copies the slice.
    of_one = jax.eval_shape(f, xs[0], ys[0])
    start = jnp.zeros(of_one.shape, of_one.dtype)
    if varying := tuple(jax.typeof(x).manual_axis_type.varying):  # in a shard_map
        start = lax.pcast(start, varying, to="varying")
    total, _ = lax.scan(lambda total, args: (total + f(*args), None), start, (xs, ys))
    return total if rest is None else total + f(rest[0], arrange(rest[1]))
