"""A convolutional variational autoencoder learns a folder of photographs.

    python experiments/vae_animals.py --dataset folder:photographs

Each epoch: images generated from the same latents, and test images above their reconstructions;
the weights of the newest epochs are in checkpoints/. In the end: curves of the metrics, and the
latent space.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_animals, num_epochs=100, dataset="folder:animals") as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
