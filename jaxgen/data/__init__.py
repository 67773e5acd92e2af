"""Images to learn from: `load(name)` and `from_arrays(...)` give a `Dataset` in memory."""

from jaxgen.data.arrays import check, from_arrays
from jaxgen.data.holding_out import with_validation
from jaxgen.data.loading import NAMES, load, load_auto
from jaxgen.data.resizing import SizesDifferError

__all__ = [
    "NAMES",
    "SizesDifferError",
    "check",
    "from_arrays",
    "load",
    "load_auto",
    "with_validation",
]
