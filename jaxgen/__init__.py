"""Generative image models as pure functions in JAX: VAEs, DCGAN and Wasserstein GANs.

    >>> from jaxgen import data, systems
    >>> learner = systems.vae_mnist()

The packages below are imported when they are first used, so that `import jaxgen` is quick:

- `systems`: the named systems with their published hyperparameters, each a function -> `Learner`.
- `models`: the mathematics: `vae`, `hierarchical_vae`, `autoencoder`, `gan`, `wgan`.
- `learners`: a model and an optimizer make a `Learner`: `minimize`, `adversarial`.
- `networks`: linen modules. `convolutions`: fast strided and transposed convolutions.
- `transforms`: optax gradient transformations.
- `data`: data sets. `runs`: the training loop.
- `evaluation`: measures of a trained model. `visualization`: pictures.
- `interop`: weights from and to PyTorch, exported samplers.
- `types`, `errors`: the types that the packages share, and the exception for invalid input.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgen import (
        convolutions,
        data,
        errors,
        evaluation,
        interop,
        learners,
        models,
        networks,
        runs,
        systems,
        transforms,
        types,
        visualization,
    )

__version__ = importlib.metadata.version("jaxgen")

__all__ = [
    "convolutions",
    "data",
    "errors",
    "evaluation",
    "interop",
    "learners",
    "models",
    "networks",
    "runs",
    "systems",
    "transforms",
    "types",
    "visualization",
]


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that decide results, and the platform."""
    import platform

    packages = ("jaxgen", "jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "platform": platform.platform(),
    }


def __getattr__(name: str) -> Any:
    if name in __all__:
        from jaxgen._process import importing

        with importing():
            return importlib.import_module(f"jaxgen.{name}")
    raise AttributeError(f"module 'jaxgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "versions"]
