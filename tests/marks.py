"""Which of many like cases are quick enough for every run."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[str], names: Iterable[str]) -> list[Any]:
    """Cases for `parametrize`, those marked slow that are not named in `quick`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def a_fifth_slow(cases: Iterable[Any]) -> list[Any]:
    """Cases for `parametrize`: every fifth is slow, the others are nightly."""
    marks = (pytest.mark.slow, *4 * (pytest.mark.nightly,))
    return [pytest.param(case, marks=marks[i % 5]) for i, case in enumerate(cases)]


def slow_and_nightly(part: int, whole: int) -> list[Any]:
    """Counts for `parametrize`: a part of them is slow, the whole is nightly."""
    return [
        pytest.param(part, marks=pytest.mark.slow),
        pytest.param(whole, marks=pytest.mark.nightly),
    ]
