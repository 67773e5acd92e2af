"""Images to learn from: `load(name)` and `from_arrays(...)` give a `Dataset`."""

from jaxgen.data.arrays import check, from_arrays
from jaxgen.data.holding_out import with_validation
from jaxgen.data.lazy import LazyImages
from jaxgen.data.loading import NAMES, load, load_auto
from jaxgen.data.resizing import SizesDifferError
from jaxgen.data.streaming import first_in_memory, is_streamed

__all__ = [
    "NAMES",
    "LazyImages",
    "SizesDifferError",
    "check",
    "first_in_memory",
    "from_arrays",
    "is_streamed",
    "load",
    "load_auto",
    "with_validation",
]
