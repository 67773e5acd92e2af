"""An MLP variational autoencoder learns MNIST.

    python experiments/vae_mnist.py

Each epoch: 128 samples from the prior, and test images above their reconstructions. In the end:
curves of the metrics, and the latent space.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_mnist, num_epochs=15) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
