"""A DCGAN learns to draw flowers in colour.

    python experiments/dcgan_flowers.py

Each epoch: 64 samples of the generator and, beside them, of its moving average. In the end, for
latents that stay the same and are looked at every epoch: one of them over training as a strip and
a collage, 24 as an animation; and curves of losses, accuracies and gradients.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.dcgan_flowers, num_epochs=300, dataset="tfds:oxford_flowers102") as run:
        pictures = runs.GANPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
