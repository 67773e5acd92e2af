"""Colours that colour-blind readers tell apart too: Paul Tol's "muted" and Okabe and Ito's."""

from jaxgen._matplotlib import import_matplotlib

CLASS_COLORS = (
    "#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee",
    "#882255", "#44aa99", "#999933", "#aa4499", "#bbbbbb",
)  # fmt: skip
LINE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MANY_CLASSES = "viridis"  # the colour map of more classes than there are colours


def class_colors(count: int) -> list[str]:
    """A colour for each of so many classes."""
    if count <= len(CLASS_COLORS):
        return list(CLASS_COLORS[:count])
    import_matplotlib()
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    palette = colormaps[MANY_CLASSES].resampled(count)
    return [to_hex(palette(n)) for n in range(count)]
