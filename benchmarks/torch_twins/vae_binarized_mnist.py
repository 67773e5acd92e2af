"""vae_binarized_mnist in PyTorch: MLP VAE on thresholded pixels, LeakyReLU(0.2)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae import kl_standard_normal, optimizer_step, sample_latents

PARTS = ()
Outputs = tuple[Tensor, Tensor, Tensor]


class Encoder(nn.Module):
    """784 → 200 → 200 → (mean, log_var) of 20."""

    def __init__(self, num_pixels: int, hidden_size: int, latent_size: int):
        super().__init__()
        self.FC_enc1 = nn.Linear(num_pixels, hidden_size)
        self.FC_enc2 = nn.Linear(hidden_size, hidden_size)
        self.FC_mean = nn.Linear(hidden_size, latent_size)
        # Named after the standard deviation, it gives the logarithm of the variance.
        self.FC_std = nn.Linear(hidden_size, latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> (mean, log_var), each [B, latent_size]."""
        hidden = F.leaky_relu(self.FC_enc1(images.flatten(1)), 0.2)
        hidden = F.leaky_relu(self.FC_enc2(hidden), 0.2)
        return self.FC_mean(hidden), self.FC_std(hidden)


class Decoder(nn.Module):
    """20 → 200 → 200 → 784 logits."""

    def __init__(self, image_shape: tuple[int, int, int], hidden_size: int, latent_size: int):
        super().__init__()
        self.image_shape = image_shape
        self.FC_dec1 = nn.Linear(latent_size, hidden_size)
        self.FC_dec2 = nn.Linear(hidden_size, hidden_size)
        self.FC_output = nn.Linear(hidden_size, math.prod(image_shape))

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent_size] -> logits [B, C, H, W]."""
        hidden = F.leaky_relu(self.FC_dec1(latents), 0.2)
        hidden = F.leaky_relu(self.FC_dec2(hidden), 0.2)
        return self.FC_output(hidden).unflatten(1, self.image_shape)


class VAE(nn.Module):
    """An encoder and a decoder."""

    def __init__(self, image_shape: tuple[int, int, int], hidden_size: int, latent_size: int):
        super().__init__()
        self.Encoder = Encoder(math.prod(image_shape), hidden_size, latent_size)
        self.Decoder = Decoder(image_shape, hidden_size, latent_size)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Outputs:
        """Images [B, C, H, W], noise [B, latent_size] -> (logits, mean, log_var)."""
        mean, log_var = self.Encoder(images)
        return self.Decoder(sample_latents(mean, log_var, noise)), mean, log_var


def networks(
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    hidden_size: int = 200,
    latent_size: int = 20,
) -> VAE:
    """The VAE, with PyTorch's initial weights."""
    return VAE(image_shape, hidden_size, latent_size)


def prepare(images: Tensor) -> Tensor:
    """1 where a pixel is at least 0.5, else 0."""
    return (images >= 0.5).to(images.dtype)


def loss(outputs: Outputs, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """−log p(x|z) of Bernoulli pixels + KL, mean over the batch: the negative ELBO."""
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
