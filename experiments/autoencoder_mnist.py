"""A plain autoencoder learns MNIST: the networks of vae_mnist without noise or KL.

    python experiments/autoencoder_mnist.py

Each epoch: test images above their reconstructions, which are sharper than a VAE's, and decoded
draws from N(0, I), which are not digits: nothing tells the codes to follow that distribution.
"""

from jaxgen import runs, systems
from jaxgen.models import pixels
from jaxgen.visualization import grids


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.autoencoder_mnist, num_epochs=15) as run:
        pixels.explain(run.config.hyperparameters["binarization"], run.note)
        learner, originals = run.learner, run.test.images[:32]
        for state in run.epochs():
            samples = learner.sample(state, 128, run.key("samples"))
            run.draw("samples", grids.grid(samples, columns=16))
            run.draw(
                "reconstructions", grids.pairs(originals, learner.reconstruct(state, originals))
            )
        run.curves("loss", "nats an image")


if __name__ == "__main__":
    runs.command(main)
