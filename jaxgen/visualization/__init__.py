"""Images of results: `grids` arranges images and writes them, `plots` draws curves and maps."""

from jaxgen.visualization import grids, plots

__all__ = ["grids", "plots"]
