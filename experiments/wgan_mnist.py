"""A Wasserstein GAN with weight clipping learns to draw MNIST digits.

    python experiments/wgan_mnist.py

Each epoch: 64 samples. In the end: the critic's estimate over training, 25 pictures of one latent
spread over training as a collage, a strip and an animation of fixed latents, and further curves.
"""

from jaxgen import runs, systems

ESTIMATE = "critic's estimate of the Wasserstein distance,\nup to its unknown Lipschitz constant"


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.wgan_mnist, num_epochs=200) as run:
        pictures = runs.GANPictures(run, estimate=ESTIMATE)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()


if __name__ == "__main__":
    runs.command(main)
