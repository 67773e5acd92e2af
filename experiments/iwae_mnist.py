"""An importance-weighted autoencoder learns MNIST: 50 samples an image, a bound tighter than ELBO.

    python experiments/iwae_mnist.py
    python experiments/iwae_mnist.py --stochastic-layers 2 --bound dreg

The loss is the negative bound, in nats, on draws of binary images. The learning rate falls in the
eight stages of the paper (arXiv:1509.00519), which took 3280 epochs; --num-epochs scales them.
Each epoch: samples from the prior, and test images above their reconstructions.
"""

from jaxgen import runs, systems
from jaxgen.models import pixels
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.iwae_mnist, num_epochs=80) as run:
        pixels.explain(run.config.hyperparameters["binarization"], run.note)
        learner, originals = run.learner, run.test.images[:32]
        for state in run.epochs():
            samples = learner.sample(state, 128, run.key("samples"))
            run.draw("samples", grids.grid(samples, columns=16))
            run.draw(
                "reconstructions", grids.pairs(originals, learner.reconstruct(state, originals))
            )
        run.curves("loss", "negative bound, nats an image")
        run.curves("elbo", "ELBO, nats an image")
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
