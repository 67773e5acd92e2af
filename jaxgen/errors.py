"""The one exception for mistakes that the person at the keyboard can mend."""

import math


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what was expected, what came, and what to do about it.
    Scripts print it without a traceback and exit with code 2.
    """


def expect_at_least(name: str, value: float, least: float) -> None:
    """Raises UserError unless `value` is a finite number, at least `least`."""
    if not (math.isfinite(value) and value >= least):
        raise UserError(f"expected {name} to be a number of at least {least}, got {value}")
