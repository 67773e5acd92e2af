"""Steps that leave out an update with a number that is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.types import SKIPPED, Array, Metrics, PyTree


def skipping_nonfinite(
    step: Callable[..., tuple[Any, Metrics]],
) -> Callable[..., tuple[Any, Metrics]]:
    """The same step, whose state stays as it was where a metric or the new state is not finite.

    The step is counted nevertheless, so that schedules go on. The metric "skipped" is 1 where the
    update was left out, else 0; the other metrics are what the step found.
    """

    def guarded(state: Any, *args: Any) -> tuple[Any, Metrics]:
        new, metrics = step(state, *args)
        finite = _all_finite((new, metrics))
        kept = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        return kept._replace(step=new.step), metrics | {SKIPPED: 1 - finite.astype(jnp.float32)}

    return guarded


def counted_images(number: int, metrics: Metrics) -> Array:
    """How many images of a step its metrics are means of: none where the update was left out."""
    count = jnp.float32(number)
    return count * (1 - metrics[SKIPPED]) if SKIPPED in metrics else count


def _all_finite(tree: PyTree) -> Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
