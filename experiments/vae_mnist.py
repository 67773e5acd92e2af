"""An MLP variational autoencoder learns MNIST.

    python experiments/vae_mnist.py

Each epoch: 128 samples from the prior, and test images above their reconstructions.
"""

from jaxgen import runs, systems
from jaxgen.models import pixels
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_mnist, num_epochs=15) as run:
        pixels.explain(run.config.hyperparameters["binarization"], run.note)
        learner, originals = run.learner, run.test.images[:32]
        for state in run.epochs():
            samples = learner.sample(state, 128, run.key("samples"))
            run.draw("samples", grids.grid(samples, columns=16))
            run.draw(
                "reconstructions", grids.pairs(originals, learner.reconstruct(state, originals))
            )
        run.curves("loss", "nats an image")
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
