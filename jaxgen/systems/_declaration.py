"""What the named systems have in common: the explanations of their keyword arguments.

Each is written once, here or in `Objective`, and appears in the docstring of every system that has
the argument, and so in the `--help` of its script.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args, get_origin

import jax
import numpy as np
import optax

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.models.objectives import Objective
from jaxgen.types import Learner

System = TypeVar("System", bound=Callable[..., Learner])
Number = float | jax.Array
Rate = float | jax.Array | optax.Schedule
Optimizer = optax.GradientTransformation

LINE = 96
OPTIMIZERS = ("optimizer", "generator_optimizer", "critic_optimizer")
OF_PUBLISHED_OPTIMIZER = ("learning_rate", "b1", "b2", "num_steps")

EXPLANATIONS = {
    "image_shape": "height, width and channels of an image.",
    "resolution": "height and width of an image, a multiple of 2 to the number of `channels`.",
    "image_channels": "3 for colour, 1 for grey.",
    "num_classes": "labels are in 0..num_classes - 1.",
    "hidden_sizes": "units of the encoder's hidden layers; the decoder's are the reverse.",
    "channels": "of the encoder's layers, each of which halves the image; the decoder's are the "
    "reverse.",
    "generator_sizes": "units of the generator's hidden layers.",
    "critic_sizes": "units of the critic's hidden layers.",
    "latent_size": "dimensions of the latent space.",
    "binarization": "of grey pixels: none (as they are; the cross-entropy is then a loss, not a "
    "log-likelihood), threshold (1 where a pixel is at least 0.5), or dynamic (a Bernoulli draw "
    "each epoch).",
    "batch_norm": "BatchNorm after every convolution but the decoder's last.",
    "running_variance": "which variances BatchNorm's running variance averages: biased ones of the "
    "batch, or unbiased ones, as PyTorch does.",
    "likelihood": "p(x|z): squared_error (a Gaussian of variance 1/2 without its normalizer), "
    "gaussian (of standard deviation `scale`, in nats), gaussian_learned_scale (one standard "
    "deviation, learned), or bernoulli (cross-entropy).",
    "scale": "standard deviation of a pixel under the likelihood gaussian.",
    "loss": "of both networks: non_saturating, minimax, least_squares or hinge.",
    "num_critic_steps": "critic updates before each generator update.",
    "learning_rate": "step size of Adam; of RMSprop in wgan_mnist.",
    "b1": "decay of Adam's first moment, for both networks.",
    "b2": "decay of Adam's second moment, for both networks.",
    "ema_decay": "decay of a moving average of the generator, sampled beside it; none for no "
    "average.",
    "batch_size": "images of one update.",
    "precision": "float32, or bfloat16 for the computations of the networks; parameters, optimizer "
    "and losses stay float32.",
    "optimizer": "any optax gradient transformation; None for the published one.",
    "generator_optimizer": "any optax gradient transformation; None for the published one.",
    "critic_optimizer": "any optax gradient transformation; None for the published one.",
}


def system(**explanations: str) -> Callable[[System], System]:
    """Documents the keyword arguments of a system.

    The system also refuses hyper-parameters of the published optimizer beside another optimizer,
    and takes whole numbers of other types as ints, alone and in sequences.

    Args:
      **explanations: of arguments that other systems do not have or explain otherwise.
    """
    known = EXPLANATIONS | _attributes(Objective) | explanations

    def decorate(function: System) -> System:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        whole = [p.name for p in parameters if p.annotation is int]
        tuples = {p.name: get_args(p.annotation) for p in parameters if _is_tuple(p.annotation)}

        @functools.wraps(function)
        def checked(**keywords: Any) -> Learner:
            signature.bind(**keywords)
            _check_optimizers(keywords)
            for name in whole:  # 64.0 and np.int64(64) as well as 64
                if isinstance(keywords.get(name), float | np.number):
                    keywords[name] = _checks.whole_number(name, keywords[name])
            for name in keywords.keys() & tuples.keys():
                count = None if ... in tuples[name] else len(tuples[name])
                keywords[name] = _checks.whole_numbers(name, keywords[name], count)
            return function(**keywords)

        lines = [_entry(name, known[name]) for name in signature.parameters]
        summary = inspect.cleandoc(function.__doc__ or "")
        checked.__doc__ = "\n".join([summary, "", "Args:", *lines])
        return cast(System, checked)

    return decorate


def _is_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple


def _check_optimizers(keywords: dict[str, Any]) -> None:
    optimizers = [name for name in OPTIMIZERS if keywords.get(name) is not None]
    ignored = [name for name in OF_PUBLISHED_OPTIMIZER if name in keywords]
    if optimizers and ignored:
        raise UserError(
            f"expected {optimizers[0]} or {ignored[0]}, got both: {ignored[0]} belongs to the "
            "published optimizer, leave it out and set it in yours"
        )


def _entry(name: str, text: str) -> str:
    return textwrap.fill(f"{name}: {text}", LINE, initial_indent="  ", subsequent_indent="    ")


def _attributes(documented: Any) -> dict[str, str]:
    """The attributes that a docstring explains, by name."""
    section = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")[2]
    entries: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.startswith("    "):
            entries[name] += f" {line.strip()}"
        else:
            name, _, text = line.strip().partition(": ")
            entries[name] = text
    return entries
