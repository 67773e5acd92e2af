"""A convolutional variational autoencoder learns a folder of photographs.

    python experiments/vae_animals.py --dataset folder:photographs

Each epoch: images generated from the same latents, and test images above their reconstructions;
the weights of the newest epochs are in checkpoints/. In the end: the three loss curves.
"""

from jaxgen import runs, systems
from jaxgen.models import likelihoods
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_animals, num_epochs=100, dataset="folder:animals") as run:
        likelihoods.explain(run.config.hyperparameters["likelihood"], run.note)
        learner, originals = run.learner, run.test.images[:8]
        for state in run.epochs():
            run.draw("samples", grids.grid(learner.sample(state, 16, run.key("samples"))))
            run.draw(
                "reconstructions", grids.pairs(originals, learner.reconstruct(state, originals))
            )
        for metric in ("loss", "reconstruction", "kl"):
            run.curves(metric, f"{metric}, nats an image")
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
