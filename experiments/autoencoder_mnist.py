"""A plain autoencoder learns MNIST: the networks of vae_mnist without noise or KL.

    python experiments/autoencoder_mnist.py

Each epoch: test images above their reconstructions, which are sharper than a VAE's, and decoded
draws from N(0, I), which are not digits: nothing tells the codes to follow that distribution.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.autoencoder_mnist, num_epochs=15) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
