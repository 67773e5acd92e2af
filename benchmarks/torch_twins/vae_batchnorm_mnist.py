"""vae_batchnorm_mnist in PyTorch: MLP VAE, BatchNorm after every hidden activation."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae import kl_standard_normal, optimizer_step, sample_latents

PARTS = ()
Outputs = tuple[Tensor, Tensor, Tensor]


def _hidden(sizes: tuple[int, ...]) -> list[nn.Module]:
    """Linear → ReLU → BatchNorm for each neighbouring pair of sizes."""
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.BatchNorm1d(fan_out)]
    return layers


class Encoder(nn.Module):
    """784 → 512 → 256 → 128 → (mean, log_var) of 32."""

    def __init__(self, num_pixels: int, hidden_sizes: tuple[int, ...], latent_size: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), *_hidden((num_pixels, *hidden_sizes)))
        self.encode_mu = nn.Linear(hidden_sizes[-1], latent_size)
        # Named after sigma, it gives the logarithm of the variance.
        self.encode_sigma = nn.Linear(hidden_sizes[-1], latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> (mean, log_var), each [B, latent_size]."""
        hidden = self.encoder(images)
        return self.encode_mu(hidden), self.encode_sigma(hidden)


class Decoder(nn.Module):
    """32 → 128 → 256 → 512 → 784 logits."""

    def __init__(
        self, image_shape: tuple[int, int, int], hidden_sizes: tuple[int, ...], latent_size: int
    ):
        super().__init__()
        self.decoder = nn.Sequential(
            *_hidden((latent_size, *hidden_sizes)),
            nn.Linear(hidden_sizes[-1], math.prod(image_shape)),
            nn.Unflatten(1, image_shape),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent_size] -> logits [B, C, H, W]."""
        return self.decoder(latents)


class VAE(nn.Module):
    """An encoder and a decoder."""

    def __init__(
        self, image_shape: tuple[int, int, int], hidden_sizes: tuple[int, ...], latent_size: int
    ):
        super().__init__()
        self.encoder = Encoder(math.prod(image_shape), hidden_sizes, latent_size)
        self.decoder = Decoder(image_shape, hidden_sizes[::-1], latent_size)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Outputs:
        """Images [B, C, H, W], noise [B, latent_size] -> (logits, mean, log_var)."""
        mean, log_var = self.encoder(images)
        return self.decoder(sample_latents(mean, log_var, noise)), mean, log_var


def networks(
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    hidden_sizes: tuple[int, ...] = (512, 256, 128),
    latent_size: int = 32,
) -> VAE:
    """The VAE, with PyTorch's initial weights."""
    return VAE(image_shape, hidden_sizes, latent_size)


def prepare(images: Tensor) -> Tensor:
    """Grey pixels, as they are."""
    return images


def loss(outputs: Outputs, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy summed over pixels + KL, mean over the batch."""
    logits, mean, log_var = outputs
    cross_entropy = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    reconstruction = cross_entropy / images.shape[0]
    kl = kl_standard_normal(mean, log_var)
    return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}


def make_optimizer(
    networks: nn.Module, *, learning_rate: float = 1e-3, **options
) -> torch.optim.Optimizer:
    """Adam with its usual constants: betas 0.9 and 0.999, epsilon 1e-8."""
    return torch.optim.Adam(networks.parameters(), lr=learning_rate, **options)


def train_step(
    networks: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    noise: Tensor | None = None,
) -> dict[str, Tensor]:
    """One Adam step on one batch, both networks at once -> loss, reconstruction, kl.

    The one forward pass also moves every BatchNorm's running statistics once.
    """
    return optimizer_step(optimizer, *loss(networks(images, noise), images))
