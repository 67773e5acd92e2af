"""The PyTorch key and the layout of every array in the state of a system."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxgen.errors import UserError
from jaxgen.interop.layouts import Array, Layout, layout_of
from jaxgen.interop.tables import PARTS, TABLES, Leaves, Sizes, Table
from jaxgen.types import Learner, PyTree

# The name of a leaf in linen and in torch.nn.
LEAVES = {
    "params": {"kernel": "weight", "bias": "bias", "scale": "weight"},
    "batch_stats": {"mean": "running_mean", "var": "running_var"},
}


class Entry(NamedTuple):
    """One array in both libraries.

    Attributes:
      key: in PyTorch, dotted, beginning with the part where the system has several.
      path: of the leaf in jaxgen, the collection first: ("params", "encoder", "mean", "kernel").
      layout: how the axes of the two are related.
    """

    key: str
    path: tuple[str, ...]
    layout: Layout


class Naming(NamedTuple):
    """One set of PyTorch keys for a state.

    Attributes:
      modules: names of the torch.nn modules, in the order of the table.
      entries: one for each leaf of the state's variables.
      counters: keys of BatchNorm's num_batches_tracked, which jaxgen does not store.
      parts: names of the networks that have a state dict each; ("",) where there is one for all.
    """

    modules: tuple[str, ...]
    entries: tuple[Entry, ...]
    counters: tuple[str, ...]
    parts: tuple[str, ...]


def namings(system: str, leaves: Leaves, image_channels: int) -> list[Naming]:
    """The sets of keys that a system is read under; the first is the one that is written.

    Args:
      system: one of `TABLES`.
      leaves: of the state's variables, by path.
      image_channels: of the images, for networks that flatten them.

    Raises:
      UserError: a leaf has no counterpart in PyTorch.
    """
    return [_naming(system, table, leaves, image_channels) for table in TABLES[system]]


def _naming(system: str, table: Table, leaves: Leaves, image_channels: int) -> Naming:
    layers = {layer.path: layer for layer in table(Sizes(leaves), image_channels)}
    found, counters, unknown = [], [], []
    for path, leaf in leaves.items():
        collection, *modules, kind = path
        layer = layers.get(".".join(modules))
        if layer is None or kind not in LEAVES.get(collection, {}):
            unknown.append(".".join((*modules, kind)))
            continue
        layout = layout_of(leaf.shape, layer.channels_in, layer.channels_out)
        found.append(Entry(f"{layer.name}.{LEAVES[collection][kind]}", path, layout))
        if kind == "var":
            counters.append(f"{layer.name}.num_batches_tracked")
    if unknown:
        raise UserError(
            f"expected a state of {system} as published, or of other sizes; these have no "
            f"counterpart among its PyTorch keys: {', '.join(unknown)}; build the system with the "
            "same layers"
        )
    names = tuple(layer.name for layer in layers.values())
    return Naming(names, tuple(found), tuple(counters), PARTS.get(system, ("",)))


def name_of(system: str | Callable[..., Learner]) -> str:
    """The name of a system, given by name or as the function.

    Raises:
      UserError: the system reproduces no PyTorch original.
    """
    name = system if isinstance(system, str) else getattr(system, "__name__", repr(system))
    if name not in TABLES:
        raise UserError(
            f"expected one of {', '.join(TABLES)}, got {name!r}: only these have PyTorch keys"
        )
    return name


def leaves_of(tree: PyTree, *path: str) -> dict[tuple[str, ...], Array]:
    """The leaves of nested dicts, by path."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {k: v for name, child in tree.items() for k, v in leaves_of(child, *path, name).items()}
