"""The PyTorch names of the layers of each system that reproduces a PyTorch original.

A table lists the layers of a system: the path of the parameters in jaxgen and the name of the
torch.nn module that holds the same parameters. Indices of nn.Sequential follow from the depth, so
that networks of other depths than the published ones have keys as well, as far as PyTorch's naming
scheme extends.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from jaxgen.interop.layouts import Array

Leaves = Mapping[tuple[str, ...], Array]

# Systems whose networks have one state dict each.
PARTS = {
    "dcgan_mnist": ("generator", "critic"),
    "wgan_mnist": ("generator", "critic"),
    "vae_animals": ("encoder", "decoder"),
}


class Layer(NamedTuple):
    """A layer in both libraries.

    Attributes:
      path: in jaxgen, dotted: "encoder.hidden.dense_0".
      name: in PyTorch, dotted; it begins with the part where the system has several state dicts.
      channels_in: C where the input of a Dense layer is a flattened map of C channels: PyTorch
        flattens [C, H, W], jaxgen [H, W, C]. 1 otherwise.
      channels_out: the same for its output.
    """

    path: str
    name: str
    channels_in: int = 1
    channels_out: int = 1


class Sizes(NamedTuple):
    """Depths and widths of a state's networks."""

    leaves: Leaves

    def depth(self, prefix: str) -> range:
        """The indices of the layers `prefix`0, `prefix`1, ..."""
        modules = {".".join(path[1:-1]) for path in self.leaves}
        return range(sum(module.startswith(prefix) for module in modules))

    def features(self, layer: str, axis: int) -> int:
        """The size of one axis of a layer's kernel; 1 where there is no such layer."""
        kernel = self.leaves.get(("params", *layer.split("."), "kernel"))
        return 1 if kernel is None else kernel.shape[axis]


Table = Callable[[Sizes, int], Iterable[Layer]]


def _vae_mnist(sizes: Sizes, channels: int) -> Iterable[Layer]:
    return _five_layers(channels, "fc1", "fc2", "fc3", "fc4", "fc5")


def _vae_of_pytorch_examples(sizes: Sizes, channels: int) -> Iterable[Layer]:
    return _five_layers(channels, "fc1", "fc21", "fc22", "fc3", "fc4")


def _five_layers(
    channels: int, hidden: str, mean: str, log_var: str, decoder_hidden: str, output: str
) -> Iterable[Layer]:
    yield Layer("encoder.hidden.dense_0", hidden, channels_in=channels)
    yield Layer("encoder.mean", mean)
    yield Layer("encoder.log_var", log_var)
    yield Layer("decoder.hidden.dense_0", decoder_hidden)
    yield Layer("decoder.output", output, channels_out=channels)


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
    """[Linear, activation, BatchNorm] repeated, then a Linear: an `MLPDecoder`."""
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


# The first table of a system names the keys that are written; all of them are read.
TABLES: dict[str, tuple[Table, ...]] = {
    "vae_mnist": (_vae_mnist, _vae_of_pytorch_examples),
    "vae_binarized_mnist": (_vae_binarized_mnist,),
    "vae_batchnorm_mnist": (_vae_batchnorm_mnist,),
    "dcgan_mnist": (_dcgan_mnist,),
    "wgan_mnist": (_wgan_mnist,),
    "vae_flowers": (_vae_flowers,),
    "vae_animals": (_vae_animals,),
}
