"""An MLP variational autoencoder learns binarized MNIST: every number is a bound in nats.

    python experiments/vae_binarized_mnist.py

Each epoch: 128 samples, and ten test images, as the model sees them, above their reconstructions.
In the end: the ELBO and its terms over the epochs, the latent space, and the latent means of the
whole test set in latents.npz.
"""

import numpy as np

from jaxgen import runs, systems
from jaxgen.models import pixels


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_binarized_mnist, num_epochs=20) as run:
        originals = pixels.unit_interval(run.test.images[:10], run.image_shape)
        binary = pixels.binarize(originals, run.config["binarization"])
        pictures = runs.VAEPictures(run, originals, shown=binary)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()

        mean, log_var = run.learner.encode(run.state, run.test.images)
        labels = run.test.labels
        np.savez(
            run.path("latents.npz"),
            mean=np.asarray(mean),
            log_var=np.asarray(log_var),
            labels=np.zeros(0, np.int32) if labels is None else labels,
        )


if __name__ == "__main__":
    runs.command(main)
