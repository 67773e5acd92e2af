"""Images of results: `grids` arranges images and writes them, `plots` draws curves and maps,
`spreads` curves and points over several runs.
"""

from jaxgen.visualization import grids, plots, spreads

__all__ = ["grids", "plots", "spreads"]
