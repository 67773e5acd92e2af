"""Arrays and what is made of them."""

from typing import Any

import jax
import numpy as np

Array = jax.Array
PyTree = Any
Metrics = dict[str, jax.Array]
Inputs = jax.Array | np.ndarray
Labels = jax.Array | np.ndarray | None  # integers [N]
