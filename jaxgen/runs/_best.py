"""Which checkpoint is the best by a metric."""

from collections.abc import Mapping
from typing import Any

# Metrics whose last word is one of these are better when they are larger.
RISING = ("elbo", "likelihood", "accuracy")


def best_first(values: Mapping[int, Any], metric: str) -> list[int]:
    """Steps by the value of a metric, the best first and the newer of two equal ones.

    Args:
      values: step -> value; steps where it is no number, or NaN, are left out.
      metric: its name, such as "validation/loss".
    """
    numbers = {s: v for s, v in values.items() if isinstance(v, int | float) and v == v}
    rising = metric.replace("_", "/").split("/")[-1] in RISING
    return sorted(numbers, key=lambda s: (-numbers[s] if rising else numbers[s], -s))
