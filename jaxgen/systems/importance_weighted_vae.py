"""The importance-weighted autoencoder of Burda et al. (arXiv:1509.00519)."""

from typing import Literal, Unpack, get_args

import flax.linen as nn

from jaxgen import _checks
from jaxgen.learners import minimize
from jaxgen.models.hierarchical import Hierarchy, hierarchical_vae
from jaxgen.models.likelihoods import bernoulli
from jaxgen.models.objectives import ObjectiveKeywords, takes_objective
from jaxgen.models.pixels import Binarization
from jaxgen.models.schedules import burda
from jaxgen.models.variational import vae
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.systems.optimizers import adam
from jaxgen.types import Learner

ADAM_EPSILON = 1e-4
StochasticLayers = Literal[1, 2]


@takes_objective(bound="iwae", num_samples=50)
def iwae_mnist(
    *,
    image_shape: tuple[int, int, int] = (28, 28, 1),
    stochastic_layers: StochasticLayers = 1,
    hidden_sizes: tuple[int, ...] = (200, 200),
    latent_size: int = 50,
    lower_latent_size: int = 100,
    upper_hidden_sizes: tuple[int, ...] = (100, 100),
    binarization: Binarization = "dynamic",
    learning_rate: float = 1e-3,
    num_steps: int = 9_840_000,
    batch_size: int = 20,
    **objective: Unpack[ObjectiveKeywords],
) -> Learner:
    """Importance-weighted autoencoder: tanh, one or two stochastic layers (arXiv:1509.00519).

    Args:
      image_shape: height, width and channels of an image.
      stochastic_layers: 1, or 2: another layer of latents between the image and the latents.
      hidden_sizes: units of the hidden layers between the image and the latents next to it; the
        decoder's are the reverse.
      latent_size: dimensions of the latent space, with two layers of the upper one.
      lower_latent_size: dimensions of the lower layer of latents, where there are two.
      upper_hidden_sizes: units of the hidden layers between the two layers of latents; the
        decoder's are the reverse.
      binarization: what the model sees of grey pixels: dynamic (a Bernoulli draw each epoch),
        threshold (1 where a pixel is at least 0.5), or none (as they are; the cross-entropy is
        then a loss, not a log-likelihood).
      learning_rate: step size of Adam in the first of eight stages; in the last it is a tenth.
      num_steps: steps over which the learning rate falls, by default of a script those of
        num_epochs; to go on with a finished run, give the number that it had.
      batch_size: images a step.
    """
    _checks.one_of("stochastic_layers", stochastic_layers, get_args(StochasticLayers))
    decoder = MLPDecoder(hidden_sizes[::-1], image_shape, nn.tanh)
    if stochastic_layers == 1:
        model = vae(
            MLPEncoder(hidden_sizes, latent_size, nn.tanh),
            decoder,
            bernoulli(),
            image_shape=image_shape,
            latent_size=latent_size,
            binarization=binarization,
            **objective,
        )
    else:
        networks = Hierarchy(
            lower_encoder=MLPEncoder(hidden_sizes, lower_latent_size, nn.tanh),
            upper_encoder=MLPEncoder(upper_hidden_sizes, latent_size, nn.tanh),
            upper_decoder=MLPEncoder(upper_hidden_sizes[::-1], lower_latent_size, nn.tanh),
            lower_decoder=decoder,
        )
        model = hierarchical_vae(
            networks,
            bernoulli(),
            image_shape=image_shape,
            latent_size=latent_size,
            binarization=binarization,
            **objective,
        )
    optimizer = adam(learning_rate, factor=burda(num_steps), eps=ADAM_EPSILON)
    return minimize(model, optimizer, batch_size=batch_size)
