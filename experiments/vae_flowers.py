"""A convolutional variational autoencoder learns flowers, in colour.

    python experiments/vae_flowers.py

Each epoch: samples from the prior, test images above their reconstructions, and the metrics of
every step for TensorBoard.
"""

from jaxgen import runs, systems
from jaxgen.models import likelihoods
from jaxgen.runs import vae_pictures
from jaxgen.visualization import grids


def main() -> None:
    """Trains, and draws as it goes."""
    with runs.start(systems.vae_flowers, num_epochs=500, dataset="tfds:oxford_flowers102") as run:
        likelihoods.explain(run.config.hyperparameters["likelihood"], run.note)
        learner, originals = run.learner, run.test.images[:32]
        for state in run.epochs():
            run.draw("samples", grids.grid(learner.sample(state, 64, run.key("samples"))))
            run.draw(
                "reconstructions", grids.pairs(originals, learner.reconstruct(state, originals))
            )
            run.write_steps()
        for metric in ("loss", "reconstruction", "kl"):
            run.curves(metric, f"{metric}, nats an image")
        vae_pictures.explore(run)


if __name__ == "__main__":
    runs.command(main)
