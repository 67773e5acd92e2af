"""What the user should know about a data set that is being loaded."""

import sys


def say(line: str) -> None:
    """Prints one line on stderr, where it does not mix with the results of a command."""
    print(f"jaxgen: {line}", file=sys.stderr)
