"""A conditional variational autoencoder learns MNIST: it is told which digit, and draws that one.

    python experiments/cvae_mnist.py

Each epoch: a grid with one row a digit and one latent a column, so that a column shows one hand
writing all the digits, and test images above their reconstructions.
"""

import jax
import jax.numpy as jnp

from jaxgen import runs, systems
from jaxgen.models import pixels
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids

COLUMNS = 10


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.cvae_mnist, num_epochs=15) as run:
        hyperparameters = run.config.hyperparameters
        pixels.explain(hyperparameters["binarization"], run.note)
        learner, originals = run.learner, run.test.images[:32]
        num_classes, latent_size = hyperparameters["num_classes"], hyperparameters["latent_size"]
        hands = jax.random.normal(run.key("samples"), (COLUMNS, latent_size))
        latents = jnp.tile(hands, (num_classes, 1))
        digits = jnp.repeat(jnp.arange(num_classes), COLUMNS)
        for state in run.epochs():
            samples = learner.decode(state, latents, labels=digits)
            run.draw("samples", grids.grid(samples, columns=COLUMNS))
            labels = run.labels(run.test.labels, len(originals))
            reconstructions = learner.reconstruct(state, originals, **labels)
            run.draw("reconstructions", grids.pairs(originals, reconstructions))
        run.curves("loss", "nats an image")
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
