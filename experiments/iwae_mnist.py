"""An importance-weighted autoencoder learns MNIST: 50 samples per image, a bound tighter than ELBO.

    python experiments/iwae_mnist.py
    python experiments/iwae_mnist.py --stochastic-layers 2 --bound dreg

The loss is the negative bound, in nats, on draws of binary images. The learning rate falls in the
eight stages of the paper (arXiv:1509.00519), which took 3280 epochs; --num-epochs scales them.
Each epoch: samples from the prior, and test images above their reconstructions. In
the end: curves of the metrics, and the latent space.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.iwae_mnist, num_epochs=80) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
