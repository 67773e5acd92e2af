"""Optimizers of the caller's own, and hyper-parameters that are arrays."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from marks import slow_but

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.systems.optimizers import adam, adversarial_adam, rmsprop

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (4, 4, 1)
VAE: dict[str, Any] = {
    "image_shape": SHAPE,
    "hidden_sizes": (5,),
    "latent_size": 2,
    "batch_size": 4,
}
GAN: dict[str, Any] = {
    "image_shape": SHAPE,
    "generator_sizes": (6,),
    "critic_sizes": (5,),
    "latent_size": 2,
    "num_critic_steps": 2,
    "batch_size": 4,
}
FLOWERS: dict[str, Any] = {"resolution": 4, "channels": (3,), "latent_size": 2, "batch_size": 4}
BUILDS: dict[str, Any] = {
    "vae_mnist": partial(systems.vae_mnist, **VAE),
    "vae_binarized_mnist": partial(systems.vae_binarized_mnist, **VAE),
    "vae_batchnorm_mnist": partial(systems.vae_batchnorm_mnist, **VAE),
    "cvae_mnist": partial(systems.cvae_mnist, **VAE),
    "autoencoder_mnist": partial(systems.autoencoder_mnist, **VAE),
    "iwae_mnist": partial(systems.iwae_mnist, **VAE, num_samples=2),
    "vae_flowers": partial(systems.vae_flowers, **FLOWERS),
    "vae_animals": partial(systems.vae_animals, **FLOWERS, num_samples=2),
    "dcgan_mnist": partial(
        systems.dcgan_mnist,
        image_shape=(25, 25, 1),
        generator_features=(4, 3, 2, 2),
        critic_features=(2, 3),
        latent_size=2,
        batch_size=4,
    ),
    "dcgan_flowers": partial(
        systems.dcgan_flowers, image_shape=(8, 8, 1), features=2, latent_size=2, batch_size=4
    ),
    "wgan_mnist": partial(systems.wgan_mnist, **GAN),
    "wgan_gp_mnist": partial(systems.wgan_gp_mnist, **GAN),
}
PUBLISHED = {
    "iwae_mnist": None,
    "vae_flowers": adam(1e-4),
    "dcgan_mnist": adversarial_adam(2e-4, 0.5),
    "dcgan_flowers": adversarial_adam(2e-4, 0.5),
    "wgan_mnist": rmsprop(5e-5),
    "wgan_gp_mnist": adversarial_adam(1e-4, 0.5, 0.9),
}


def pixels(shape=SHAPE, count=16):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def trained(learner, num_steps=2):
    """The state after some steps, and the metrics of the last."""
    state, metrics = learner.init(jax.random.key(0)), {}
    labels = {"labels": np.arange(4, dtype=np.int32)} if learner.num_classes else {}
    for i in range(num_steps):
        images = pixels(learner.image_shape, 4)
        state, metrics = learner.step(state, images, jax.random.key(i), **labels)
    return state, metrics


def names(build) -> tuple[str, ...]:
    gan = "gan" in build.func.__name__
    return ("generator_optimizer", "critic_optimizer") if gan else ("optimizer",)


def test_every_system_is_here():
    assert set(BUILDS) == set(systems.__all__)


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "wgan_mnist", "vae_flowers"}, BUILDS))
def test_the_published_optimizer_given_is_the_default(name):
    optimizer = PUBLISHED.get(name, adam(1e-3))
    if optimizer is None:
        pytest.skip("its learning rate has a schedule")
    build = BUILDS[name]
    own, default = build(**dict.fromkeys(names(build), optimizer)), build()
    jax.tree.map(np.testing.assert_array_equal, trained(own), trained(default))


@pytest.mark.parametrize("name", BUILDS)
def test_an_optimizer_of_the_callers_own_is_used(name):
    build = BUILDS[name]
    learner = build(**dict.fromkeys(names(build), optax.sgd(0.0)))
    shapes = jax.eval_shape(learner.init, jax.random.key(0))
    assert all(leaf.size < 2 for leaf in jax.tree.leaves(shapes.optimizer_state))
    if name == "vae_mnist":
        (state, _), start = trained(learner, 1), learner.init(jax.random.key(0))
        jax.tree.map(np.testing.assert_array_equal, state.params, start.params)


@pytest.mark.parametrize("name", BUILDS)
def test_a_learning_rate_beside_an_optimizer_is_refused(name):
    build = BUILDS[name]
    for argument in names(build):
        with pytest.raises(UserError) as error:
            build(**{argument: optax.sgd(0.1)}, learning_rate=1e-3)
        assert str(error.value).startswith(f"expected {argument} or learning_rate, got both")
        build(**{argument: None}, learning_rate=1e-3)


@pytest.mark.parametrize("argument", ["optimizer", "learning_rate"])
def test_what_is_no_optimizer_is_refused(argument):
    with pytest.raises(UserError, match=r"expected .* (transformation|number)"):
        BUILDS["vae_mnist"](**{argument: "adam"})


def test_the_weights_are_clipped_after_an_optimizer_of_the_callers_own():
    learner = systems.wgan_mnist(**GAN, critic_optimizer=optax.sgd(10.0), weight_bound=0.05)
    state, metrics = trained(learner)
    largest = max(float(jnp.max(jnp.abs(p))) for p in jax.tree.leaves(state.params["critic"]))
    assert largest <= 0.05
    assert metrics["weights_on_bound"] > 0


# --- optimizers with more arguments --------------------------------------------------------------

WITH_MORE: dict[str, Callable[[], Any]] = {
    "reduce_on_plateau": lambda: optax.chain(
        optax.adam(1e-3), optax.contrib.reduce_on_plateau(patience=1, cooldown=0)
    ),
    "lbfgs": lambda: optax.lbfgs(),
    "adamw": lambda: optax.adamw(1e-3),
    "MultiSteps": lambda: optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2),
    "MultiSteps as transformation": lambda: optax.MultiSteps(
        optax.sgd(0.1), every_k_schedule=2
    ).gradient_transformation(),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
}


@pytest.mark.parametrize("kind", WITH_MORE)
def test_optimizers_with_more_arguments_train_a_vae(kind):
    learner = systems.vae_mnist(**VAE, optimizer=WITH_MORE[kind]())
    state = learner.init(jax.random.key(0))
    before = jax.tree.map(np.array, state.params)
    state, metrics = learner.epoch(state, pixels(), jax.random.key(1))
    assert np.isfinite(metrics["loss"]).all()
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, state.params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("kind", slow_but({"reduce_on_plateau"}, WITH_MORE))
def test_optimizers_with_more_arguments_train_a_gan(kind):
    optimizers = {name: WITH_MORE[kind]() for name in ("generator_optimizer", "critic_optimizer")}
    learner = BUILDS["wgan_gp_mnist"](**optimizers)
    state, metrics = learner.epoch(learner.init(jax.random.key(0)), pixels(), jax.random.key(1))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.params, metrics)))


def test_the_plateau_sees_the_loss():
    # Without improvement of the loss, which zero updates guarantee, the scale is halved each step.
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, cooldown=0, rtol=0, atol=1e6)
    learner = systems.autoencoder_mnist(**VAE, optimizer=optax.chain(optax.sgd(0.0), plateau))
    state, _ = trained(learner, 4)
    assert state.optimizer_state[1].scale < 1


def test_lbfgs_evaluates_the_loss_it_minimizes():
    learner = systems.autoencoder_mnist(**VAE, optimizer=optax.lbfgs())
    state = learner.init(jax.random.key(0))
    losses = []
    for i in range(5):
        state, metrics = learner.step(state, pixels(count=8), jax.random.key(i))
        losses.append(float(metrics["loss"]))
    assert all(np.diff(losses) < 0)  # the line search accepts descent alone


# --- hyper-parameters that are arrays ------------------------------------------------------------


def population(build, values, compare_metrics):
    """Fits one learner for each row of values, vmapped and one by one, for 20 steps."""
    images = pixels(count=4 * 20 * (2 if build in (wgan, wgan_gp) else 1))

    def fit(*row):
        learner = build(*row)
        return learner.epoch(learner.init(jax.random.key(0)), images, jax.random.key(1))

    state, together = jax.vmap(fit)(*map(jnp.asarray, values))
    for i, row in enumerate(zip(*values, strict=True)):
        single_state, alone = fit(*map(float, row))
        assert len(alone["num_images"]) == 20
        for name, value in alone.items():
            compare_metrics(name, np.asarray(together[name][i]), np.asarray(value))
        assert state.step[i] == single_state.step == 20


def close(name, a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)


def close_estimate(name, a, b):
    if name in ("wasserstein", "critic_loss", "generator_loss", "gradient_penalty"):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4, err_msg=name)


def vae(learning_rate, beta, free_bits):
    return systems.vae_mnist(**VAE, learning_rate=learning_rate, beta=beta, free_bits=free_bits)


def wgan(learning_rate, weight_bound):
    return systems.wgan_mnist(**GAN, learning_rate=learning_rate, weight_bound=weight_bound)


def wgan_gp(learning_rate, penalty_weight):
    return systems.wgan_gp_mnist(**GAN, learning_rate=learning_rate, penalty_weight=penalty_weight)


def iwae(learning_rate, beta):
    return systems.iwae_mnist(**VAE, num_samples=2, learning_rate=learning_rate, beta=beta)


def test_a_population_of_vaes():
    population(vae, ([1e-3, 3e-3, 1e-2], [0.5, 1.0, 4.0], [0.0, 0.1, 0.5]), close)


@pytest.mark.slow
def test_a_population_of_wgans():
    population(wgan, ([5e-5, 1e-3], [0.01, 0.05]), close_estimate)


@pytest.fixture
def usual_compilation():
    """Without optimization, Adam enlarges the rounding of near-zero gradients to 1e-4."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("usual_compilation")
def test_a_population_of_penalized_wgans():
    population(wgan_gp, ([1e-4, 1e-3], [1.0, 10.0]), close_estimate)


@pytest.mark.slow
def test_a_population_of_iwaes():
    population(iwae, ([1e-3, 1e-2], [0.5, 1.0]), close)


def test_the_metrics_of_a_population_differ():
    images = pixels()

    def loss(learning_rate, beta):
        learner = systems.vae_mnist(**VAE, learning_rate=learning_rate, beta=beta)
        state, _ = learner.epoch(learner.init(jax.random.key(0)), images, jax.random.key(1))
        return learner.evaluate(state, images, jax.random.key(2))["loss"]

    losses = jax.vmap(loss)(jnp.array([1e-3, 1e-1, 1e-3]), jnp.array([1.0, 1.0, 2.0]))
    assert len(np.unique(losses)) == 3


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, jnp.float32])
def test_a_learning_rate_of_any_number_type(kind):
    state, _ = trained(systems.vae_mnist(**VAE, learning_rate=kind(0.01)), 1)
    wanted, _ = trained(systems.vae_mnist(**VAE, learning_rate=0.01), 1)
    jax.tree.map(np.testing.assert_array_equal, state.params, wanted.params)
    with pytest.raises(UserError, match="learning_rate to be a number above 0"):
        systems.vae_mnist(**VAE, learning_rate=kind(-0.01))


@pytest.mark.parametrize("name", ["vae_mnist", "iwae_mnist", "wgan_mnist"])
def test_a_schedule_as_learning_rate(name):
    schedule = optax.piecewise_constant_schedule(1e-3, {1: 0.0})
    learner = BUILDS[name](learning_rate=schedule)
    first, _ = trained(learner, 1)
    second, _ = trained(learner, 3)
    if name == "wgan_mnist":  # its critic has two updates in each step
        first, second = (state.params["generator"] for state in (first, second))
    else:
        first, second = first.params, second.params
    jax.tree.map(np.testing.assert_array_equal, first, second)
