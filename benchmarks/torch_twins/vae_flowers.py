"""vae_flowers in PyTorch: convolutional VAE with max pooling, squared error, beta 0.1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae import kl_standard_normal, optimizer_step, sample_latents

PARTS = ()
Outputs = tuple[Tensor, Tensor, Tensor]


class Encoder(nn.Module):
    """Three times [3×3 convolution, ReLU, max pooling by 2], then (mean, log_var)."""

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, int, int], latent_size: int
    ):
        super().__init__()
        image_channels, height, width = image_shape
        c1, c2, c3 = channels
        num_features = c3 * (height // 8) * (width // 8)
        self.conv1 = nn.Conv2d(image_channels, c1, 3, padding=1)
        self.conv2 = nn.Conv2d(c1, c2, 3, padding=1)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.fcm = nn.Linear(num_features, latent_size)
        self.fcv = nn.Linear(num_features, latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> (mean, log_var), each [B, latent_size]."""
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2).flatten(1)
        return self.fcm(x), self.fcv(x)


class Decoder(nn.Module):
    """Dense, without activation, to a [64, H/8, W/8] map; three transposed 2×2 convolutions."""

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, int, int], latent_size: int
    ):
        super().__init__()
        image_channels, height, width = image_shape
        c1, c2, c3 = channels
        self.map_shape = (c3, height // 8, width // 8)
        self.fc = nn.Linear(latent_size, c3 * (height // 8) * (width // 8))
        self.deconv1 = nn.ConvTranspose2d(c3, c2, 2, stride=2)
        self.deconv2 = nn.ConvTranspose2d(c2, c1, 2, stride=2)
        self.deconv3 = nn.ConvTranspose2d(c1, image_channels, 2, stride=2)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent_size] -> expected images [B, C, H, W] in [0, 1]."""
        x = self.fc(latents).unflatten(1, self.map_shape)
        x = F.relu(self.deconv1(x))
        x = F.relu(self.deconv2(x))
        return torch.sigmoid(self.deconv3(x))


class VAE(nn.Module):
    """An encoder and a decoder."""

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, int, int], latent_size: int
    ):
        super().__init__()
        self.encoder = Encoder(image_shape, channels, latent_size)
        self.decoder = Decoder(image_shape, channels, latent_size)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Outputs:
        """Images [B, C, H, W], noise [B, latent_size] -> (expected images, mean, log_var)."""
        mean, log_var = self.encoder(images)
        return self.decoder(sample_latents(mean, log_var, noise)), mean, log_var


def networks(
    *,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    channels: tuple[int, int, int] = (16, 32, 64),
    latent_size: int = 10,
) -> VAE:
    """The VAE, with PyTorch's initial weights; height and width are multiples of 8."""
    return VAE(image_shape, channels, latent_size)


def prepare(images: Tensor) -> Tensor:
    """Pixels in [0, 1], as they are."""
    return images


def loss(
    outputs: Outputs, images: Tensor, *, beta: float = 0.1
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error summed over the image + beta · KL, mean over the batch.

    The error is whole, not the half of it that is −log p(x|z) of a Gaussian with unit variance;
    the term "kl" does not carry beta.
    """
    decoded, mean, log_var = outputs
    reconstruction = F.mse_loss(decoded, images, reduction="sum") / images.shape[0]
    kl = kl_standard_normal(mean, log_var)
    return reconstruction + beta * kl, {"reconstruction": reconstruction, "kl": kl}


def make_optimizer(
    networks: nn.Module, *, learning_rate: float = 1e-4, **options
) -> torch.optim.Optimizer:
    """Adam with its usual constants: betas 0.9 and 0.999, epsilon 1e-8."""
    return torch.optim.Adam(networks.parameters(), lr=learning_rate, **options)


def train_step(
    networks: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    noise: Tensor | None = None,
    *,
    beta: float = 0.1,
) -> dict[str, Tensor]:
    """One Adam step on one batch, both networks at once -> loss, reconstruction, kl."""
    return optimizer_step(optimizer, *loss(networks(images, noise), images, beta=beta))
