"""The leaves of a pytree as named arrays in host memory, and back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import PyTree

# Leaves of other types are stored as their bytes.
STORED_TYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
    + "float16 float32 float64 bfloat16".split()
)


class Leaf(NamedTuple):
    """One array of a state.

    Attributes:
      name: its path in the pytree, such as ".params['encoder']['mean']['bias']".
      dtype: the name of its type; "key<...>" for typed PRNG keys.
      shape: its shape.
      array: its value in host memory; the underlying integers of PRNG keys.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    array: np.ndarray


def host_leaves(state: PyTree) -> list[Leaf]:
    """Copies of all leaves in host memory; the state may be donated afterwards."""
    named = jax.tree_util.tree_leaves_with_path(state)
    data = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for _, leaf in named]
    arrays = [np.array(array) for array in jax.device_get(data)]
    return [
        Leaf(jax.tree_util.keystr(path), type_name(leaf.dtype), leaf.shape, array)
        for (path, leaf), array in zip(named, arrays, strict=True)
    ]


def placed(content: bytes, like: Any) -> jax.Array:
    """An array with the type, shape and device of `like`."""
    raw = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    array: Any = np.frombuffer(content, raw.dtype).reshape(raw.shape)
    if _is_key(like):
        array = jax.random.wrap_key_data(array, impl=_key_implementation(like))
    # An array placed explicitly on a device commits all that is computed from it to that device.
    free = not getattr(like, "committed", False)
    return jax.device_put(array, None if free else like.sharding)


def stored(array: np.ndarray) -> np.ndarray:
    """The array as safetensors can hold it."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array if array.dtype.name in STORED_TYPES else array.reshape(-1).view(np.uint8)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_implementation(like: Any) -> str:
    """The name of a key's random number generator, also where `like` is abstract."""
    names = []
    jax.eval_shape(lambda key: names.append(str(jax.random.key_impl(key))), like)
    return names[0]


def type_name(dtype: Any) -> str:
    return str(dtype) if jnp.issubdtype(dtype, jax.dtypes.prng_key) else np.dtype(dtype).name
