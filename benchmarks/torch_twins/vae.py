"""What the five VAEs share: latents, the KL term, and one step of descent."""

import torch
from torch import Tensor


def sample_latents(mean: Tensor, log_var: Tensor, noise: Tensor | None = None) -> Tensor:
    """mean + exp(log_var / 2) · noise, with noise ~ N(0, I) where none is given."""
    if noise is None:
        noise = torch.randn_like(mean)
    return mean + torch.exp(log_var / 2) * noise


def kl_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_var))) ‖ N(0, I)) of [B, D], in nats, mean over the batch."""
    return 0.5 * torch.sum(log_var.exp() - log_var + mean.square() - 1) / mean.shape[0]


def optimizer_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, terms: dict[str, Tensor]
) -> dict[str, Tensor]:
    """One optimizer step; returns the loss and its terms, detached."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}
