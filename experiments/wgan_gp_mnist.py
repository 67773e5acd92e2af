"""A Wasserstein GAN with gradient penalty learns to draw MNIST digits.

    python experiments/wgan_gp_mnist.py

Each epoch: 64 samples. In the end: the critic's estimate over training, 25 pictures of one latent
spread over training as a collage, a strip and an animation of fixed latents, and further curves.
"""

from jaxgen import runs, systems

ESTIMATE = "critic's estimate of the Wasserstein distance\nbetween images in [-1, 1]"


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.wgan_gp_mnist, num_epochs=200) as run:
        pictures = runs.GANPictures(run, estimate=ESTIMATE)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
