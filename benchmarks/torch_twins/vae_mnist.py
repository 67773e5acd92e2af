"""vae_mnist in PyTorch: MLP VAE, one hidden layer, ReLU, cross-entropy of grey pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae import kl_standard_normal, optimizer_step, sample_latents

PARTS = ()
Outputs = tuple[Tensor, Tensor, Tensor]


class VAE(nn.Module):
    """784 → 400 → (mean, log_var) of 20; 20 → 400 → 784 logits."""

    def __init__(self, image_shape: tuple[int, int, int], hidden_size: int, latent_size: int):
        super().__init__()
        num_pixels = math.prod(image_shape)
        self.image_shape = image_shape
        self.fc1 = nn.Linear(num_pixels, hidden_size)
        self.fc2 = nn.Linear(hidden_size, latent_size)
        self.fc3 = nn.Linear(hidden_size, latent_size)
        self.fc4 = nn.Linear(latent_size, hidden_size)
        self.fc5 = nn.Linear(hidden_size, num_pixels)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> (mean, log_var), each [B, latent_size]."""
        hidden = F.relu(self.fc1(images.flatten(1)))
        return self.fc2(hidden), self.fc3(hidden)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, latent_size] -> logits [B, C, H, W]."""
        return self.fc5(F.relu(self.fc4(latents))).unflatten(1, self.image_shape)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Outputs:
        """Images [B, C, H, W], noise [B, latent_size] -> (logits, mean, log_var)."""
        mean, log_var = self.encode(images)
        return self.decode(sample_latents(mean, log_var, noise)), mean, log_var


def networks(
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    hidden_size: int = 400,
    latent_size: int = 20,
) -> VAE:
    """The VAE, with PyTorch's initial weights."""
    return VAE(image_shape, hidden_size, latent_size)


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
    """One Adam step on one batch, both networks at once -> loss, reconstruction, kl."""
    return optimizer_step(optimizer, *loss(networks(images, noise), images))
