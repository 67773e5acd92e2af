"""Tests of the line that a run prints for each epoch."""

import jax
import numpy as np
import pytest

from jaxgen import systems
from jaxgen.runs.reporting import epoch_line, named

TERMINAL = 120  # characters of a wide window
SMALL = {"hidden_sizes": (4,), "latent_size": 2, "batch_size": 4}
GAN = {"generator_sizes": (4,), "critic_sizes": (4,), "latent_size": 2, "batch_size": 4}


def record(train, test):
    return {
        "epoch": 100,
        "step": 46900,
        "seconds": 1.0,
        **named("train", train),
        **named("test", test),
    }


def test_a_vae_shows_its_loss_the_held_out_loss_the_parts_and_the_speed():
    metrics = {
        "loss": 107.236,
        "elbo": -107.236,
        "kl": 24.614,
        "reconstruction": 82.622,
        "kl_weight": 1.0,
        "gradient_norm": 3.3,
    }
    line = epoch_line(record(metrics, metrics | {"loss": 106.4}), 150, 61234.5)
    assert line == (
        "epoch 100/150: loss 107.24 (test 106.40), reconstruction 82.62, kl 24.61; 61,234 images/s"
    )


def test_a_gan_shows_both_losses_and_the_diversity_of_its_samples():
    train = {"accuracy_fake": 0.9, "critic_loss": 0.51234, "generator_loss": 2.0}
    line = epoch_line(record(train, {"critic_loss": 0.6, "diversity": 0.83}), 100, 10)
    assert line == (
        "epoch 100/100: critic_loss 0.512 (test 0.6), generator_loss 2.00, diversity 0.83; "
        "10 images/s"
    )


def test_a_learner_without_a_loss_shows_what_it_has():
    line = epoch_line(record({"score": 2.5, "margin": 1.0}, {"score": 2.0}), 100, 10)
    assert line == "epoch 100/100: margin 1.00, score 2.50 (test 2.00); 10 images/s"


@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("vae_mnist", SMALL),
        ("autoencoder_mnist", SMALL),
        ("iwae_mnist", {"hidden_sizes": (4,), "latent_size": 2, "num_steps": 9, "batch_size": 4}),
        ("wgan_mnist", GAN),
        ("wgan_gp_mnist", GAN),
    ],
)
def test_the_line_of_a_system_fits_on_a_terminal(system, options):
    learner = getattr(systems, system)(image_shape=(4, 4, 1), **options)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    images = np.zeros((8, 4, 4, 1), np.uint8)
    _, train = jax.eval_shape(learner.step, state, images, jax.random.key(0))
    test = jax.eval_shape(learner.evaluate, state, images, jax.random.key(0))
    worst = -12345.67
    line = epoch_line(record(dict.fromkeys(train, worst), dict.fromkeys(test, worst)), 100, 1e6)
    assert "loss" in line
    assert len(line) <= TERMINAL
