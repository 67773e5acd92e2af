"""An MLP variational autoencoder learns binarized MNIST: every number is a bound in nats.

    python experiments/vae_binarized_mnist.py

In the end: the ELBO over the epochs, ten test images above their reconstructions, and the latent
means of the whole test set, in latents.npz and as a map of their two principal components.
"""

import numpy as np

from jaxgen import runs, systems
from jaxgen.models import pixels
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids


def main() -> None:
    """Trains, then looks at the latent space."""
    with runs.start(systems.vae_binarized_mnist, num_epochs=20) as run:
        learner, originals = run.learner, run.test.images[:10]
        pixels.explain(binarization := run.config.hyperparameters["binarization"], run.note)
        seen = pixels.binarize(pixels.unit_interval(originals, run.image_shape), binarization)
        for state in run.epochs():
            run.draw(
                "samples", grids.grid(learner.sample(state, 128, run.key("samples")), columns=16)
            )
            run.draw("reconstructions", grids.pairs(seen, learner.reconstruct(state, originals)))
        run.curves("elbo", "ELBO, nats an image")

        mean, log_var = learner.encode(run.state, run.test.images)
        labels = run.test.labels
        np.savez(
            run.path("latents.npz"),
            mean=np.asarray(mean),
            log_var=np.asarray(log_var),
            labels=np.zeros(0, np.int32) if labels is None else labels,
        )
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
