"""The importance-weighted autoencoder of Burda et al. (arXiv:1509.00519)."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxgen import _checks, models
from jaxgen.learners import minimize
from jaxgen.models.likelihoods import bernoulli
from jaxgen.models.objectives import Bound, KLSchedule, Objective
from jaxgen.models.pixels import Binarization
from jaxgen.models.precision import Precision
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.systems._declaration import Number, Optimizer, Rate, system
from jaxgen.systems.optimizers import adam
from jaxgen.types import Array, Learner

ADAM_EPSILON = 1e-4
StochasticLayers = Literal[1, 2]


@system(
    stochastic_layers="1, or 2: another layer of latents between the image and the latents.",
    hidden_sizes="units of the hidden layers between the image and the latents next to it; the "
    "decoder's are the reverse.",
    latent_size="dimensions of the latent space, with two layers of the upper one.",
    lower_latent_size="dimensions of the lower layer of latents, if there are two.",
    upper_hidden_sizes="units of the hidden layers between the two layers of latents; the "
    "decoder's are the reverse.",
    learning_rate="step size of Adam in the first of eight stages; in the last it is a tenth.",
    num_steps="steps over which the learning rate falls, by default of a script those of "
    "num_epochs; to continue a finished run, give the number that it had.",
)
def iwae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    stochastic_layers: StochasticLayers = 1,
    hidden_sizes: tuple[int, ...] = (200, 200),
    latent_size: int = 50,
    lower_latent_size: int = 100,
    upper_hidden_sizes: tuple[int, ...] = (100, 100),
    binarization: Binarization = "dynamic",
    learning_rate: Rate = 1e-3,
    num_steps: int = 9_840_000,
    batch_size: int = 20,
    precision: Precision = "float32",
    beta: Number = 1.0,
    kl_schedule: KLSchedule = "constant",
    kl_schedule_steps: int = 2000,
    free_bits: Number = 0.0,
    num_samples: int = 50,
    bound: Bound = "iwae",
    average_images: bool = False,
    optimizer: Optimizer | None = None,
) -> Learner:
    """Importance-weighted autoencoder: tanh, one or two stochastic layers (arXiv:1509.00519)."""
    _checks.one_of("stochastic_layers", stochastic_layers, get_args(StochasticLayers))
    decoder = MLPDecoder(hidden_sizes[::-1], image_shape, nn.tanh)
    options: dict[str, Any] = {
        "image_shape": image_shape,
        "precision": precision,
        "latent_size": latent_size,
        "binarization": binarization,
        "objective": Objective(
            beta,
            kl_schedule,
            kl_schedule_steps,
            free_bits,
            num_samples,
            bound,
            average_images,
        ),
    }
    if stochastic_layers == 1:
        encoder = MLPEncoder(hidden_sizes, latent_size, nn.tanh)
        model = models.vae(encoder, decoder, bernoulli(), **options)
    else:
        networks = models.Hierarchy(
            lower_encoder=MLPEncoder(hidden_sizes, lower_latent_size, nn.tanh),
            upper_encoder=MLPEncoder(upper_hidden_sizes, latent_size, nn.tanh),
            upper_decoder=MLPEncoder(upper_hidden_sizes[::-1], lower_latent_size, nn.tanh),
            lower_decoder=decoder,
        )
        model = models.hierarchical_vae(networks, bernoulli(), **options)
    if optimizer is None:
        factor = iwae_learning_rate_schedule(num_steps)
        optimizer = adam(learning_rate, factor=factor, eps=ADAM_EPSILON)
    return minimize(model, optimizer, batch_size=batch_size)


def iwae_learning_rate_schedule(num_steps: int) -> optax.Schedule:
    """The factor of the learning rate in the paper.

    value = 10^(−i/7) in stage i = 0, …, 7, which lasts 3^i / 3280 of all the steps

    The paper's stages last 3^i epochs, 3280 in all. After `num_steps` the last value stays.

    Args:
      num_steps: steps in all.

    Returns:
      step -> value in [0.1, 1].

    Raises:
      UserError: if num_steps is below 1.

    References:
      Burda et al., Importance Weighted Autoencoders, arXiv:1509.00519, section 5.
    """
    _checks.at_least("num_steps", num_steps, 1)
    lengths = 3.0 ** np.arange(8)
    ends = np.cumsum(lengths)[:-1] / lengths.sum() * num_steps

    def schedule(step: ArrayLike) -> Array:
        stage = jnp.sum(jnp.asarray(step) >= ends)
        return 10.0 ** (-stage / 7)

    return schedule
