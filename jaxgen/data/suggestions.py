"""Names that resemble one that is not known."""

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    """ " (did you mean A or B?)" with the known names that resemble `name`; "" without any."""
    near = difflib.get_close_matches(name.lower(), known)
    return f" (did you mean {' or '.join(prefix + other for other in near)}?)" if near else ""
