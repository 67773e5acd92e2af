"""Work on a batch in chunks, so that a chunk's temporaries stay in the processor's cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

# What a chunk may need for its temporaries. A temporary that leaves the cache is written to and
# read back from memory, and the pages that it takes afresh cost more than the arithmetic on them.
CHUNK_BYTES = 4 << 20


def chunk_size(batch: int, bytes_per_image: int, kernel_bytes: int) -> int:
    """How many images to work on at once: the largest power of two that stays in the cache.

    A kernel larger than that is read again for every chunk, whose temporaries may then be as large.
    """
    fitting = max(1, max(CHUNK_BYTES, kernel_bytes) // max(1, bytes_per_image))
    return batch if batch <= fitting else 1 << (fitting.bit_length() - 1)


def _split(chunk: int, arrays: tuple[Array, ...]):
    whole = arrays[0].shape[0] // chunk * chunk
    chunks = tuple(a[:whole].reshape(-1, chunk, *a.shape[1:]) for a in arrays)
    return chunks, tuple(a[whole:] for a in arrays) if whole < arrays[0].shape[0] else None


def map_chunks(f: Callable[..., Array], chunk: int, *arrays: Array) -> Array:
    """f(*arrays) for an f that treats each image by itself."""
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
    """f(x, arrange(y)) for an f that sums over the images.

    All chunks of y are arranged before the first is summed: a transposition next to the product
    that needs it becomes part of that product, which XLA computes in half as much time again.
    """
    if chunk >= x.shape[0]:
        return f(x, arrange(y))
    (xs, ys), rest = _split(chunk, (x, y))
    ys = jax.vmap(arrange)(ys)
    # From zeros, not from the first chunk: what a loop reads from the second on is a copy.
    of_one = jax.eval_shape(f, xs[0], ys[0])
    start = jnp.zeros(of_one.shape, of_one.dtype)
    if varying := tuple(jax.typeof(x).manual_axis_type.varying):  # in a shard_map
        start = lax.pcast(start, varying, to="varying")
    total, _ = lax.scan(lambda total, args: (total + f(*args), None), start, (xs, ys))
    return total if rest is None else total + f(rest[0], arrange(rest[1]))
