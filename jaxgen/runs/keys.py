"""The random keys of a run: each for one purpose, all from the seed."""

import zlib

import jax

from jaxgen.types import Array


def purpose_key(seed: int, purpose: str) -> Array:
    """The key of a run for one purpose, such as "train"; the same for the same seed and name."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def indexed_key(seed: int, purpose: str, index: int = 0) -> Array:
    """The key for one of many uses of a purpose, such as an epoch."""
    return jax.random.fold_in(purpose_key(seed, purpose), index)
