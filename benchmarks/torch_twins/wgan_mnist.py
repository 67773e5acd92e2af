"""wgan_mnist in PyTorch: MLP Wasserstein GAN with weight clipping, RMSprop."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

PARTS = ("generator", "critic")


class Generator(nn.Sequential):
    """100 → 64 → 256 → 512 → 784, LeakyReLU(0.01) and BatchNorm between, tanh at the end."""

    def __init__(
        self, image_shape: tuple[int, int, int], hidden_sizes: tuple[int, ...], latent_size: int
    ):
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((latent_size, *hidden_sizes)):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.01), nn.BatchNorm1d(fan_out)]
        super().__init__(*layers, nn.Linear(hidden_sizes[-1], math.prod(image_shape)), nn.Tanh())
        self.image_shape = image_shape

    def forward(self, input: Tensor) -> Tensor:
        """Noise [B, latent_size] -> images [B, C, H, W] in [−1, 1]."""
        return super().forward(input).unflatten(1, self.image_shape)


class Critic(nn.Sequential):
    """784 → 64 → 128 → 1, ReLU between, nothing at the end."""

    def __init__(self, image_shape: tuple[int, int, int], hidden_sizes: tuple[int, ...]):
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise((math.prod(image_shape), *hidden_sizes)):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden_sizes[-1], 1))

    def forward(self, input: Tensor) -> Tensor:
        """Images [B, C, H, W] -> scores [B]."""
        return super().forward(input).squeeze(1)


def networks(
    *,
    image_shape: tuple[int, int, int] = (1, 28, 28),
    generator_sizes: tuple[int, ...] = (64, 256, 512),
    critic_sizes: tuple[int, ...] = (64, 128),
    latent_size: int = 100,
) -> nn.ModuleDict:
    """Generator and critic, with PyTorch's initial weights."""
    generator = Generator(image_shape, generator_sizes, latent_size)
    critic = Critic(image_shape, critic_sizes)
    return nn.ModuleDict({"generator": generator, "critic": critic})


def prepare(images: Tensor) -> Tensor:
    """[0, 1] -> [−1, 1], the generator's range."""
    return 2 * images - 1


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean f(fake) − mean f(real): minus the estimate of the Wasserstein distance."""
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """−mean f(fake)."""
    return -fake_scores.mean()


def make_optimizer(
    networks: nn.ModuleDict, *, learning_rate: float = 5e-5, **options
) -> dict[str, torch.optim.Optimizer]:
    """RMSprop with alpha 0.99 and epsilon 1e-8, outside the root; one for each network."""
    return {
        part: torch.optim.RMSprop(
            networks[part].parameters(), lr=learning_rate, alpha=0.99, eps=1e-8, **options
        )
        for part in PARTS
    }


def critic_step(
    networks: nn.ModuleDict,
    optimizer: dict[str, torch.optim.Optimizer],
    images: Tensor,
    noise: Tensor,
    *,
    clip: float = 0.01,
) -> Tensor:
    """One RMSprop step of the critic, then every parameter of it clipped to [−clip, clip].

    The generator is not differentiated, but it is in training mode: its BatchNorm uses the
    statistics of this batch of fakes, and its running statistics move.
    """
    generator, critic = networks["generator"], networks["critic"]
    with torch.no_grad():
        fakes = generator(noise)
    loss = critic_loss(critic(images), critic(fakes))
    optimizer["critic"].zero_grad(set_to_none=True)
    loss.backward()
    optimizer["critic"].step()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-clip, clip)
    return loss.detach()


def generator_step(
    networks: nn.ModuleDict, optimizer: dict[str, torch.optim.Optimizer], noise: Tensor
) -> Tensor:
    """One RMSprop step of the generator through the critic as it is."""
    generator, critic = networks["generator"], networks["critic"]
    # The critic's own gradients are not wanted here: without them its backward pass is shorter.
    critic.requires_grad_(False)
    loss = generator_loss(critic(generator(noise)))
    optimizer["generator"].zero_grad(set_to_none=True)
    loss.backward()
    optimizer["generator"].step()
    critic.requires_grad_(True)
    return loss.detach()


def train_step(
    networks: nn.ModuleDict,
    optimizer: dict[str, torch.optim.Optimizer],
    images: Tensor,
    noise: Tensor | None = None,
    *,
    clip: float = 0.01,
) -> dict[str, Tensor]:
    """Critic updates, each on its own batch, then one generator update.

    1. For each of the batches in images [num_critic_steps, B, C, H, W] (five are published), with
       the next of the noises: critic loss, RMSprop step, clip every critic parameter.
    2. With the last of the noises [num_critic_steps + 1, B, latent_size]: generator loss through
       the critic just clipped, RMSprop step of the generator.

    Running statistics move with every pass of the generator: once in each of these updates.

    Returns:
      critic_loss, the mean over the critic updates, and generator_loss.
    """
    num_critic_steps, batch_size = images.shape[:2]
    if noise is None:
        latent_size = next(networks["generator"].parameters()).shape[1]  # its first weight's fan-in
        shape = (num_critic_steps + 1, batch_size, latent_size)
        noise = torch.randn(shape, dtype=images.dtype, device=images.device)
    losses = [
        critic_step(networks, optimizer, images[i], noise[i], clip=clip)
        for i in range(num_critic_steps)
    ]
    loss = generator_step(networks, optimizer, noise[-1])
    return {"critic_loss": torch.stack(losses).mean(), "generator_loss": loss}
