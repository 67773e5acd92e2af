"""Which PyTorch module each layer of a system is: one table a system.

A table lists layers, from where their parameters are in jaxgen to the name of the torch.nn module
that has the same. Paths and names begin with the network's part where a system has several state
dicts ("generator", "critic"); indices of nn.Sequential follow from the depth, so networks of other
sizes than the published ones have keys too, as far as PyTorch's names go on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from jaxgen.errors import UserError
from jaxgen.interop.layouts import Array, Layout, layout_of
from jaxgen.types import Learner, PyTree

PARTS = {
    "dcgan_mnist": ("generator", "critic"),
    "wgan_mnist": ("generator", "critic"),
    "vae_animals": ("encoder", "decoder"),
}
# linen's name of a leaf -> torch.nn's
LEAVES = {
    "params": {"kernel": "weight", "bias": "bias", "scale": "weight"},
    "batch_stats": {"mean": "running_mean", "var": "running_var"},
}
Leaves = Mapping[tuple[str, ...], Array]


class Layer(NamedTuple):
    """A layer on both sides.

    Attributes:
      path: in jaxgen, dotted: "encoder.hidden.dense_0".
      name: in PyTorch, dotted.
      channels_in: C where a Dense layer's input is a flattened map of C channels: PyTorch flattens
        [C, H, W], jaxgen [H, W, C]. 1 where it is not, or where the order is the same.
      channels_out: the same of its output.
    """

    path: str
    name: str
    channels_in: int = 1
    channels_out: int = 1


class Entry(NamedTuple):
    """One array on both sides.

    Attributes:
      key: in PyTorch, dotted, with the part in front where there is one.
      path: of the leaf in jaxgen, the collection first: ("params", "encoder", "mean", "kernel").
      layout: how the two are arranged.
    """

    key: str
    path: tuple[str, ...]
    layout: Layout


def entries(system: str, leaves: Leaves, image_channels: int) -> tuple[list[Entry], list[str]]:
    """The entries of a state, and the keys of BatchNorm's counters, which jaxgen does not keep.

    Args:
      system: one of `TABLES`.
      leaves: of the state's variables, by path.
      image_channels: of the images, for networks that flatten them.

    Raises:
      UserError: where a leaf has no counterpart in PyTorch.
    """
    layers = {layer.path: layer for layer in TABLES[system](Sizes(leaves), image_channels)}
    found, counters, unknown = [], [], []
    for path, leaf in leaves.items():
        collection, *modules, kind = path
        layer = layers.get(".".join(modules))
        if layer is None or kind not in LEAVES[collection]:
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
    return found, counters


def name_of(system: str | Callable[..., Learner]) -> str:
    """The name of a system, given by name or as the function.

    Raises:
      UserError: where it is none that comes from PyTorch.
    """
    name = system if isinstance(system, str) else getattr(system, "__name__", repr(system))
    if name not in TABLES:
        raise UserError(
            f"expected one of {', '.join(TABLES)}, got {name!r}: only they have PyTorch keys"
        )
    return name


def leaves_of(tree: PyTree, *path: str) -> dict[tuple[str, ...], Array]:
    """The leaves of nested dicts, by path."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {k: v for name, child in tree.items() for k, v in leaves_of(child, *path, name).items()}


class Sizes(NamedTuple):
    """What a table asks about a state."""

    leaves: Leaves

    def depth(self, prefix: str) -> range:
        """The indices of the layers `prefix`0, `prefix`1, ..."""
        return range(
            len(
                {
                    ".".join(path[1:-1])
                    for path in self.leaves
                    if ".".join(path[1:-1]).startswith(prefix)
                }
            )
        )

    def features(self, layer: str, axis: int) -> int:
        """The size of one axis of a layer's kernel; 1 where there is no such layer."""
        kernel = self.leaves.get(("params", *layer.split("."), "kernel"))
        return 1 if kernel is None else kernel.shape[axis]


def _vae_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    yield Layer("encoder.hidden.dense_0", "fc1", channels_in=channels)
    yield Layer("encoder.mean", "fc2")
    yield Layer("encoder.log_var", "fc3")
    yield Layer("decoder.hidden.dense_0", "fc4")
    yield Layer("decoder.output", "fc5", channels_out=channels)


def _vae_binarized_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    for i in sizes.depth("encoder.hidden.dense_"):
        flat = 1 if i else channels
        yield Layer(f"encoder.hidden.dense_{i}", f"Encoder.FC_enc{i + 1}", channels_in=flat)
    yield Layer("encoder.mean", "Encoder.FC_mean")
    yield Layer("encoder.log_var", "Encoder.FC_std")
    for i in sizes.depth("decoder.hidden.dense_"):
        yield Layer(f"decoder.hidden.dense_{i}", f"Decoder.FC_dec{i + 1}")
    yield Layer("decoder.output", "Decoder.FC_output", channels_out=channels)


def _vae_batchnorm_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    for i in sizes.depth("encoder.hidden.dense_"):
        flat = 1 if i else channels
        yield Layer(f"encoder.hidden.dense_{i}", f"encoder.encoder.{3 * i + 1}", channels_in=flat)
        yield Layer(f"encoder.hidden.norm_{i}", f"encoder.encoder.{3 * i + 3}")
    yield Layer("encoder.mean", "encoder.encode_mu")
    yield Layer("encoder.log_var", "encoder.encode_sigma")
    yield from _dense_then_norm(sizes, "decoder", "decoder.decoder", channels)


def _dense_then_norm(sizes: Sizes, path: str, name: str, channels: int) -> Iterable[Layer]:
    """[Linear, activation, BatchNorm] again and again, then a Linear: an `MLPDecoder`."""
    depth = sizes.depth(f"{path}.hidden.dense_")
    for i in depth:
        yield Layer(f"{path}.hidden.dense_{i}", f"{name}.{3 * i}")
        yield Layer(f"{path}.hidden.norm_{i}", f"{name}.{3 * i + 2}")
    yield Layer(f"{path}.output", f"{name}.{3 * len(depth)}", channels_out=channels)


def _dcgan_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    depth = sizes.depth("generator.conv_")
    for i in depth:
        yield Layer(f"generator.conv_{i}", f"generator.layers.{3 * i}")
        yield Layer(f"generator.norm_{i}", f"generator.layers.{3 * i + 1}")
    yield Layer("generator.output", f"generator.layers.{3 * len(depth)}")
    depth = sizes.depth("critic.conv_")
    for i in depth:  # the first has no BatchNorm
        yield Layer(f"critic.conv_{i}", f"critic.layers.{max(0, 3 * i - 1)}")
        yield Layer(f"critic.norm_{i}", f"critic.layers.{3 * i}")
    yield Layer("critic.score", f"critic.layers.{3 * len(depth) + 1}")


def _wgan_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    yield from _dense_then_norm(sizes, "generator.decoder", "generator", channels)
    depth = sizes.depth("critic.hidden.dense_")
    for i in depth:
        flat = 1 if i else channels
        yield Layer(f"critic.hidden.dense_{i}", f"critic.{2 * i + 1}", channels_in=flat)
    yield Layer("critic.score", f"critic.{2 * len(depth) + 1}")


def _vae_flowers(sizes: Sizes, channels: int) -> Iterable[Layer]:
    for i in sizes.depth("encoder.conv_"):
        yield Layer(f"encoder.conv_{i}", f"encoder.conv{i + 1}")
        yield Layer(f"decoder.conv_{i}", f"decoder.deconv{i + 1}")
    yield from _around_the_latents(sizes, "fcm", "fcv")


def _vae_animals(sizes: Sizes, channels: int) -> Iterable[Layer]:
    for i in sizes.depth("encoder.conv_"):
        yield Layer(f"encoder.conv_{i}", f"encoder.conv_layers.{2 * i}")
        yield Layer(f"decoder.conv_{i}", f"decoder.deconv_layers.{2 * i}")
    yield from _around_the_latents(sizes, "fc_mu", "fc_logvar")


def _around_the_latents(sizes: Sizes, mean: str, log_var: str) -> Iterable[Layer]:
    last = len(sizes.depth("encoder.conv_")) - 1
    flat = sizes.features(f"encoder.conv_{last}", axis=3)
    yield Layer("encoder.mean", f"encoder.{mean}", channels_in=flat)
    yield Layer("encoder.log_var", f"encoder.{log_var}", channels_in=flat)
    flat = sizes.features("decoder.conv_0", axis=3)
    yield Layer("decoder.dense", "decoder.fc", channels_out=flat)


TABLES: dict[str, Callable[[Sizes, int], Iterable[Layer]]] = {
    "vae_mnist": _vae_mnist,
    "vae_binarized_mnist": _vae_binarized_mnist,
    "vae_batchnorm_mnist": _vae_batchnorm_mnist,
    "dcgan_mnist": _dcgan_mnist,
    "wgan_mnist": _wgan_mnist,
    "vae_flowers": _vae_flowers,
    "vae_animals": _vae_animals,
}
