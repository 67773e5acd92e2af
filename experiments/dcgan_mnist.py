"""A DCGAN learns to draw MNIST digits.

    python experiments/dcgan_mnist.py

Each epoch: 64 samples, and with --ema-decay 0.999 those of the averaged generator beside them. In
the end, for latents that stay the same and are looked at every 25 steps: one of them over training
as a strip and a collage, 24 as an animation; and curves of losses, accuracies and gradients.
"""

from jaxgen import runs, systems


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.dcgan_mnist, num_epochs=3) as run:
        pictures = runs.GANPictures(run, every=25)
        for state in run.epochs(pictures.every, pictures.watch):
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
