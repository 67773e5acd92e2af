"""A convolutional variational autoencoder learns flowers, in colour.

    python experiments/vae_flowers.py

Each epoch: samples from the prior, test images above their reconstructions, and the metrics of
every step for TensorBoard. In the end: curves of the metrics, and the latent space.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_flowers, num_epochs=500, dataset="tfds:oxford_flowers102") as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
            run.write_steps()
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
