"""The exception for mistakes that a user can correct."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what was expected, what came, and what to do about it.
    Scripts print it without a traceback and exit with code 2.
    """
