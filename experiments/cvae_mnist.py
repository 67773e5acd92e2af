"""A conditional variational autoencoder learns MNIST: given a digit's label, it draws that digit.

    python experiments/cvae_mnist.py

Each epoch: a grid with one row per digit and one latent per column, so that a column shows one
handwriting for all the digits, and test images above their reconstructions. In the end: curves of
the metrics, and the latent space.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.cvae_mnist, num_epochs=15) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
