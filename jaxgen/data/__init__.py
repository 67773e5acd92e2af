"""Images to learn from: `load(name)` gives a `Dataset` of uint8 arrays in memory."""

from jaxgen.data.loading import NAMES, load, load_auto

__all__ = ["NAMES", "load", "load_auto"]
