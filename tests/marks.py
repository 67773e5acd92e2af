"""Which of many like cases are quick enough for every run."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[str], names: Iterable[str]) -> list[Any]:
    """Cases for `parametrize`, those marked slow that are not named in `quick`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]
