# ruff: noqa: RUF001 (equations use their own signs)
"""What the page of a run states about its system: the objective, and published numbers."""

from collections.abc import Mapping, Sequence

from jaxgen.visualization.report import Reference

# By a metric that only runs of such a model report; the first that is found counts.
EQUATIONS: Mapping[str, str] = {
    "gradient_penalty": (
        "critic: maximize E[f(x)] − E[f(G(z))] − λ E[(‖∇f(x̂)‖ − 1)²]\n"
        "generator: maximize E[f(G(z))],   z ~ N(0, I)"
    ),
    "wasserstein": (
        "critic: maximize E[f(x)] − E[f(G(z))] over f with clipped weights\n"
        "generator: maximize E[f(G(z))],   z ~ N(0, I)"
    ),
    "critic_loss": "fake = G(z),   z ~ N(0, I);   the critic tells fakes from images",
    "kl": "maximize ELBO(x) = E_q(z|x)[log p(x|z)] − KL(q(z|x) ‖ N(0, I)),   as weighted below",
    "reconstruction": "minimize −log p(x|z),   z = encoder(x)",
}

REFERENCES: Mapping[str, Sequence[Reference]] = {
    "vae_mnist": (
        Reference("train/loss", 109.3, 5, "original in PyTorch, grey pixels"),
        Reference("train/loss", 106.6, 10, "original in PyTorch, grey pixels"),
        Reference("train/loss", 103.9, 15, "original in PyTorch, grey pixels"),
    ),
    "vae_binarized_mnist": (
        Reference("train/loss", 85.0, 20, "original in PyTorch, pixels thresholded at 0.5"),
    ),
}
