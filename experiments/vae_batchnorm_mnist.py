"""An MLP variational autoencoder with BatchNorm learns MNIST, and its latent space is walked.

    python experiments/vae_batchnorm_mnist.py

Each epoch: samples and reconstructions. In the end, for one test image: its reconstruction, the
same decoded from a latent with added noise, and walks along the three most active latent
dimensions, each picture under the label that a small classifier gives it:
traversal-sigma.png, mean ± 3 standard deviations of the dimension over the test set, 20 steps;
traversal-far-1.png and traversal-far-2.png, −100 to 100, 25 steps, far outside anything the
decoder has seen.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import data, runs, systems
from jaxgen.evaluation import classifiers, latents
from jaxgen.models import losses
from jaxgen.visualization import grids

NOISE_SCALE = 0.5  # of the added noise, in standard deviations of the prior
CLASSIFIER_EPOCHS, CLASSIFIER_BATCH_SIZE = 3, 64
CLASSIFIER_IMAGES = 60_000  # at most, of a data set that is streamed


def main() -> None:
    """Trains, then walks."""
    with runs.start(systems.vae_batchnorm_mnist, num_epochs=10) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()
        if not run.draws:
            return

        learner, originals = run.learner, run.test.images[:1]
        means, log_vars = learner.encode(run.state, run.test.images)
        center = means[0]
        noise = NOISE_SCALE * jax.random.normal(run.key("noise"), center.shape)
        decoded = learner.decode(run.state, jnp.stack([center, center + noise]))
        shown = jnp.concatenate([originals / np.float32(255), decoded])
        captions = ["test image", "reconstruction", "noise added"]
        grids.save(run.path("images/noise.png"), grids.captioned(shown, captions, columns=3))

        activity = losses.kl_of_dimensions(means, log_vars).mean(0)
        near, *far = np.argsort(-activity)[:3].tolist()
        name_digits = train_classifier(run)
        middle, sigma = means[:, near].mean(), means[:, near].std()
        walks = {
            "sigma": (near, jnp.linspace(middle - 3 * sigma, middle + 3 * sigma, 20)),
            "far-1": (far[0], jnp.linspace(-100, 100, 25)),
            "far-2": (far[1], jnp.linspace(-100, 100, 25)),
        }
        for name, (dimension, values) in walks.items():
            walk = latents.traversal(learner, run.state, center, dimension, values)
            collage = grids.captioned(walk, name_digits(walk), columns=5)
            grids.save(run.path(f"images/traversal-{name}.png"), collage)


def train_classifier(run: runs.Run):
    """A function from images to the labels a classifier gives them, or to none without labels."""
    train = data.first_in_memory(run.dataset, CLASSIFIER_IMAGES).train
    if train.labels is None:
        run.note("no labels to train a classifier on: the walks stay without captions")
        return lambda walk: [""] * len(walk)
    learner, predict = classifiers.classifier_mnist(
        image_shape=run.image_shape,
        num_classes=int(train.labels.max()) + 1,
        batch_size=min(CLASSIFIER_BATCH_SIZE, len(train.images)),
    )
    state = learner.init(run.key("classifier-init"))
    train_images = jax.device_put(train.images)
    for epoch in range(CLASSIFIER_EPOCHS):
        key = run.key("classifier-train", epoch)
        state, _ = learner.epoch(state, train_images, key, labels=train.labels)
    metrics = learner.evaluate(
        state, run.test.images, run.key("classifier-evaluate"), labels=run.test.labels
    )
    run.note(f"classifier: {float(metrics['accuracy']):.1%} of the test images right")

    return lambda walk: [str(label) for label in predict(state, walk)]


if __name__ == "__main__":
    runs.command(main)
