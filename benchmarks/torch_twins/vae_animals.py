"""vae_animals in PyTorch: convolutional VAE, 128×128 photographs, ten latents per image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae import kl_standard_normal, optimizer_step, sample_latents

PARTS = ("encoder", "decoder")
Outputs = tuple[Tensor, Tensor, Tensor]


class Encoder(nn.Module):
    """4×4 convolutions of stride 2 and ReLU, five times: 128 → 4; then (mean, log_var)."""

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, ...], latent_size: int
    ):
        super().__init__()
        layers: list[nn.Module] = []
        image_channels, height, width = image_shape
        for fan_in, fan_out in zip((image_channels, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(fan_in, fan_out, 4, 2, 1), nn.ReLU(inplace=True)]
        self.conv_layers = nn.Sequential(*layers)
        shrink = 2 ** len(channels)
        num_features = channels[-1] * (height // shrink) * (width // shrink)
        self.fc_mu = nn.Linear(num_features, latent_size)
        self.fc_logvar = nn.Linear(num_features, latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> (mean, log_var), each [B, latent_size]."""
        x = self.conv_layers(images).flatten(1)
        return self.fc_mu(x), self.fc_logvar(x)


class Decoder(nn.Module):
    """Dense, without activation, to a [512, 4, 4] map; transposed 4×4 convolutions of stride 2."""

    def __init__(
        self, image_shape: tuple[int, int, int], channels: tuple[int, ...], latent_size: int
    ):
        super().__init__()
        layers: list[nn.Module] = []
        image_channels, height, width = image_shape
        for fan_in, fan_out in zip(channels[:0:-1], channels[-2::-1], strict=True):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(channels[0], image_channels, 4, 2, 1), nn.Sigmoid()]
        shrink = 2 ** len(channels)
        self.map_shape = (channels[-1], height // shrink, width // shrink)
        self.fc = nn.Linear(latent_size, channels[-1] * (height // shrink) * (width // shrink))
        self.deconv_layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent_size] -> expected images [B, C, H, W] in [0, 1]."""
        return self.deconv_layers(self.fc(latents).unflatten(1, self.map_shape))


class VAE(nn.Module):
    """An encoder, and a decoder of `num_samples` latents per image."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: tuple[int, ...],
        latent_size: int,
        num_samples: int,
    ):
        super().__init__()
        self.num_samples = num_samples
        self.encoder = Encoder(image_shape, channels, latent_size)
        self.decoder = Decoder(image_shape, channels, latent_size)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Outputs:
        """Images [B, C, H, W], noise [S, B, D] -> (decoded [S, B, C, H, W], mean, log_var)."""
        mean, log_var = self.encoder(images)
        if noise is None:
            noise = torch.randn(
                (self.num_samples, *mean.shape), dtype=mean.dtype, device=mean.device
            )
        latents = sample_latents(mean, log_var, noise)
        decoded = self.decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
        return decoded, mean, log_var


def networks(
    *,
    image_shape: tuple[int, int, int] = (3, 128, 128),
    channels: tuple[int, ...] = (32, 64, 128, 256, 512),
    latent_size: int = 128,
    num_samples: int = 10,
) -> VAE:
    """The VAE, with PyTorch's initial weights; sides are multiples of 2 ** len(channels)."""
    return VAE(image_shape, channels, latent_size, num_samples)


def prepare(images: Tensor) -> Tensor:
    """Pixels in [0, 1], as they are."""
    return images


def loss(
    outputs: Outputs, images: Tensor, *, average_images: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error summed over the image + KL, mean over the batch.

    The error is the mean over the samples of each sample's error, the Monte-Carlo estimate of
    E_q[‖x − decoder(z)‖²]; with `average_images` it is the one error of the samples' mean image.
    """
    decoded, mean, log_var = outputs
    if average_images:
        error = F.mse_loss(decoded.mean(0), images, reduction="sum")
    else:
        error = F.mse_loss(decoded, images.expand_as(decoded), reduction="sum") / decoded.shape[0]
    reconstruction = error / images.shape[0]
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
    *,
    average_images: bool = False,
) -> dict[str, Tensor]:
    """One Adam step on one batch, both networks at once -> loss, reconstruction, kl."""
    outputs = networks(images, noise)
    return optimizer_step(optimizer, *loss(outputs, images, average_images=average_images))
