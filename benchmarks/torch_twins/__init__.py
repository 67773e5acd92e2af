"""PyTorch twins of jaxgen's seven source systems, for parity tests and for the race.

One module a system, named like it, each with the same five names:

    PARTS                                    () where the networks are one state dict, else the
                                             names of the sub-modules with a state dict each
    networks(**hyper_parameters)             an nn.Module with the published sizes as defaults
    prepare(images)                          images in [0, 1] -> images as the networks see them;
                                             once, before training
    make_optimizer(networks, **options)      the published optimizer; for a GAN a dict of two.
                                             `options` go to torch.optim (fused, capturable, ...)
    train_step(networks, optimizer, images, noise=None)
                                             one update in place -> detached terms, no .item()

and its loss as a pure function of what the networks return, so that torch.func.functional_call,
torch.vmap and torch.compile can wrap it:

    VAEs   networks(images, noise=None) -> (decoded, mean, log_var)
           loss(outputs, images) -> (loss, {"reconstruction": ..., "kl": ...})
    GANs   networks["generator"](noise) -> images, networks["critic"](images) -> scores [B]
           critic_loss(real_scores, fake_scores), generator_loss(fake_scores) -> loss

Every loss is a mean over the batch, in nats per image (the WGAN's has no unit). Images are
[B, C, H, W]; noise is sampled from N(0, I) if it is not given:

    system        images per step      noise per step
    VAEs          [B, C, H, W]         [B, latent_size]
    vae_animals   [B, 3, 128, 128]     [num_samples, B, latent_size]
    dcgan_mnist   [B, 1, 28, 28]       [B, latent_size]
    wgan_mnist    [5, B, 1, 28, 28]    [6, B, latent_size]: five critic updates, one generator

`torch.compile(train_step)` works for all but dcgan_mnist, whose generator would be in one graph
with the first critic pass although they are differentiated separately. There each network is
compiled in place (`networks["critic"].compile()`), which does not change the keys of a state dict.

Everything follows the dtype and device of the networks and images: `networks().double()`. To train
many seeds at once, stack their parameters and buffers (torch.func.stack_module_state), vmap the
loss of functional_call over them, and step one optimizer over the stacked leaves: Adam, RMSprop
and clipping act on each number alone, so the runs do not touch each other.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from . import (
    dcgan_mnist,
    vae_animals,
    vae_batchnorm_mnist,
    vae_binarized_mnist,
    vae_flowers,
    vae_mnist,
    wgan_mnist,
)

__all__ = [
    "dcgan_mnist",
    "load_state_dicts",
    "state_dicts",
    "vae_animals",
    "vae_batchnorm_mnist",
    "vae_binarized_mnist",
    "vae_flowers",
    "vae_mnist",
    "wgan_mnist",
]


def state_dicts(twin: ModuleType, networks: nn.Module) -> dict[str, Any]:
    """The state dict of the networks, or {part: state dict} where the system has several files."""
    if not twin.PARTS:
        return networks.state_dict()
    return {part: networks.get_submodule(part).state_dict() for part in twin.PARTS}


def load_state_dicts(twin: ModuleType, networks: nn.Module, dicts: Mapping[str, Any]) -> None:
    """Loads the output of `state_dicts` into the networks; raises unless every key fits."""
    if not twin.PARTS:
        networks.load_state_dict(dicts)
    for part in twin.PARTS:
        networks.get_submodule(part).load_state_dict(dicts[part])
