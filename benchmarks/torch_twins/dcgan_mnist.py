"""dcgan_mnist in PyTorch: convolutional GAN, non-saturating loss, Adam."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS = ("generator", "critic")


class Generator(nn.Module):
    """Transposed convolutions without bias: 1 → 5 → 9 → 21 → 25 → 28, the last to a sigmoid."""

    def __init__(self, channels: tuple[int, int, int, int], latent_size: int):
        super().__init__()
        c1, c2, c3, c4 = channels
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent_size, c1, 5, bias=False),
            nn.BatchNorm2d(c1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(c1, c2, 5, bias=False),
            nn.BatchNorm2d(c2),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(c2, c3, 5, stride=2, bias=False),
            nn.BatchNorm2d(c3),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(c3, c4, 5, bias=False),
            nn.BatchNorm2d(c4),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(c4, 1, 4, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """[B, latent_size] -> images [B, 1, 28, 28] in [0, 1]."""
        return self.layers(noise[:, :, None, None])


class Critic(nn.Module):
    """Convolutions without bias, 28 → 14 → 7 → 3, global mean over space, one logit."""

    def __init__(self, channels: tuple[int, int, int]):
        super().__init__()
        c1, c2, c3 = channels
        self.layers = nn.Sequential(
            nn.Conv2d(1, c1, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(c1, c2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c2),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv2d(c2, c3, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c3),
            nn.LeakyReLU(0.01, inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(c3, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 28, 28] -> logits [B]."""
        return self.layers(images).squeeze(1)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def networks(
    *,
    generator_channels: tuple[int, int, int, int] = (512, 256, 128, 64),
    critic_channels: tuple[int, int, int] = (64, 128, 256),
    latent_size: int = 100,
) -> nn.ModuleDict:
    """Generator and critic: convolutions from N(0, 0.02), BatchNorm scales from N(1, 0.02)."""
    generator = Generator(generator_channels, latent_size)
    critic = Critic(critic_channels)
    return nn.ModuleDict({"generator": generator, "critic": critic}).apply(_init)


def prepare(images: Tensor) -> Tensor:
    """Pixels in [0, 1], as they are: the generator's range."""
    return images


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−log D(real) − log(1 − D(fake)), each a mean over its half; D = sigmoid(score)."""
    real = F.binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
    fake = F.binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores))
    return real + fake


def generator_loss(fake_scores: Tensor) -> Tensor:
    """−log D(fake), the non-saturating loss, mean over the batch."""
    return F.binary_cross_entropy_with_logits(fake_scores, torch.ones_like(fake_scores))


def make_optimizer(
    networks: nn.ModuleDict, *, learning_rate: float = 2e-4, **options
) -> dict[str, torch.optim.Optimizer]:
    """Adam with betas 0.5 and 0.999 and epsilon 1e-8, one for each network."""
    return {
        part: torch.optim.Adam(
            networks[part].parameters(), lr=learning_rate, betas=(0.5, 0.999), **options
        )
        for part in PARTS
    }


def train_step(
    networks: nn.ModuleDict,
    optimizer: dict[str, torch.optim.Optimizer],
    images: Tensor,
    noise: Tensor | None = None,
) -> dict[str, Tensor]:
    """One critic update, then one generator update -> critic_loss, generator_loss.

    1. fakes = generator(noise), once.
    2. Critic on the real images, then on the fakes (detached), each under its own batch
       statistics; Adam step of the critic down the sum of both losses.
    3. The updated critic on the same fakes; Adam step of the generator.

    Running statistics move with every pass: the generator's once, the critic's three times, in
    the order real, fake, fake. For torch.compile, compile each network in place, not this function:
    step 2 would free the graph of the fakes that step 3 goes back through.
    """
    generator, critic = networks["generator"], networks["critic"]
    if noise is None:
        latent_size = next(generator.parameters()).shape[0]  # its first weight: [in, out, 5, 5]
        noise = torch.randn(images.shape[0], latent_size, dtype=images.dtype, device=images.device)
    fakes = generator(noise)

    loss = critic_loss(critic(images), critic(fakes.detach()))
    optimizer["critic"].zero_grad(set_to_none=True)
    loss.backward()
    optimizer["critic"].step()

    # The critic's own gradients are not wanted here: without them its backward pass is shorter.
    critic.requires_grad_(False)
    fooled = generator_loss(critic(fakes))
    optimizer["generator"].zero_grad(set_to_none=True)
    fooled.backward()
    optimizer["generator"].step()
    critic.requires_grad_(True)
    return {"critic_loss": loss.detach(), "generator_loss": fooled.detach()}
