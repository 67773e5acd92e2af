# ruff: noqa: RUF001 (equations use their own signs)
"""What the page of a run states about its system: the objective, and published numbers."""

from collections.abc import Mapping, Sequence

from jaxgen._published import PUBLISHED
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

ORIGINAL = "original in PyTorch, grey pixels"
OWN = "jaxgen, mean of 3 seeds"
OWN_SEED = "jaxgen, one seed"

# Numbers for the data that a system was published with.
REFERENCES: Mapping[str, Sequence[Reference]] = {
    "vae_mnist": (
        Reference("train/loss", 109.3, 5, ORIGINAL),
        Reference("train/loss", 106.6, 10, ORIGINAL),
        Reference("train/loss", 103.9, 15, ORIGINAL),
        Reference("test/loss", 104.58, 15, OWN),
    ),
    "vae_binarized_mnist": (
        Reference("train/loss", 85.0, 20, "original in PyTorch, pixels thresholded at 0.5"),
        Reference("test/loss", 84.85, 20, OWN),
    ),
    "vae_batchnorm_mnist": (Reference("test/loss", 102.31, 10, OWN),),
    "autoencoder_mnist": (Reference("test/loss", 66.69, 15, OWN_SEED),),
    "cvae_mnist": (Reference("test/loss", 100.44, 15, OWN),),
    "iwae_mnist": (Reference("test/loss", 99.85, 17, OWN_SEED),),
    "vae_flowers": (Reference("test/loss", 91.42, 500, OWN_SEED),),
    "dcgan_mnist": (Reference("test/diversity", 0.950, 3, OWN_SEED),),
    "dcgan_flowers": (Reference("test/diversity", 0.390, 18, OWN_SEED),),
    "wgan_mnist": (Reference("test/diversity", 0.964, 200, OWN),),
    "wgan_gp_mnist": (Reference("test/diversity", 0.979, 49, OWN_SEED),),
}


def references_of(system: str | None, dataset: str) -> Sequence[Reference]:
    """The numbers to stand beside those of a run; none for other data than the published."""
    if system is None or system not in REFERENCES:
        return ()
    published = PUBLISHED[system].dataset
    expected = "mnist" if published == "auto" else published
    return REFERENCES[system] if dataset == expected else ()
