"""What every system promises, checked on a small variant of each.

A new system joins by one line in SYSTEMS. The whole suite runs under jax's key-reuse checks, and
compiles without optimization, which changes none of the promises.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from marks import slow_but

from jaxgen import systems
from jaxgen.types import Learner, Metrics, PyTree

IMAGE_SHAPE = (8, 8, 1)
COUNT, HELD_OUT, BATCH = 22, 10, 4  # ragged ends in both
NUM_STEPS = 6
SMALL: dict[str, Any] = {
    "image_shape": IMAGE_SHAPE,
    "hidden_sizes": (8,),
    "latent_size": 3,
    "learning_rate": 3e-2,
    "batch_size": BATCH,
}
PHOTOGRAPHS: dict[str, Any] = {
    "resolution": 8,
    "image_channels": 1,
    "channels": (8,),
    "latent_size": 3,
    "learning_rate": 3e-2,
    "batch_size": BATCH,
}
VAE = frozenset({"loss", "elbo", "kl", "reconstruction", "kl_weight"})


class System(NamedTuple):
    """A small variant, and what is particular about it.

    Attributes:
      build: () -> Learner.
      metrics: names that `step`, `epoch` and `evaluate` give.
      in_training: names that `step` and `epoch` give beside them.
      held_out: names that `evaluate` gives beside them.
      falls: the metric that training lowers on fixed data; None for a game, where none has to.
      encodes: whether there is an encoder.
      labelled: whether all functions but `init` take labels.
      image_shape: of the images it is built for.
    """

    build: Callable[[], Learner]
    metrics: frozenset[str] = VAE
    in_training: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()
    falls: str | None = "loss"
    encodes: bool = True
    labelled: bool = False
    image_shape: tuple[int, int, int] = IMAGE_SHAPE


GAME = {"latent_size": 3, "learning_rate": 1e-3, "batch_size": BATCH, "ema_decay": 0.9}
GRADIENTS = frozenset({"critic_gradient_norm", "generator_gradient_norm"})


def game(
    system: Callable[..., Learner],
    metrics: set[str],
    in_training: frozenset[str] = frozenset(),
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    **options: Any,
) -> System:
    """A generator and a critic."""
    return System(
        lambda: system(image_shape=image_shape, **GAME | options),
        frozenset({"critic_loss", "generator_loss"}) | metrics,
        GRADIENTS | in_training,
        frozenset({"diversity"}),
        falls=None,
        encodes=False,
        image_shape=image_shape,
    )


ACCURACIES = {"accuracy_real", "accuracy_fake"}
# Two critic updates a step, on half a batch each.
WASSERSTEIN = {
    "generator_sizes": (8,),
    "critic_sizes": (8,),
    "num_critic_steps": 2,
    "batch_size": BATCH // 2,
}
SYSTEMS = {
    "vae_mnist": System(lambda: systems.vae_mnist(**SMALL, binarization="dynamic")),
    "vae_binarized_mnist": System(lambda: systems.vae_binarized_mnist(**SMALL)),
    "vae_batchnorm_mnist": System(lambda: systems.vae_batchnorm_mnist(**SMALL)),
    "autoencoder_mnist": System(
        lambda: systems.autoencoder_mnist(**SMALL), frozenset({"loss", "reconstruction"})
    ),
    "dcgan_mnist": game(
        systems.dcgan_mnist,
        ACCURACIES,
        image_shape=(25, 25, 1),
        generator_features=(4, 3, 2, 2),
        critic_features=(2, 3, 4),
    ),
    "dcgan_flowers": game(systems.dcgan_flowers, ACCURACIES, features=3),
    "wgan_mnist": game(
        systems.wgan_mnist, {"wasserstein"}, frozenset({"weights_on_bound"}), **WASSERSTEIN
    ),
    "wgan_gp_mnist": game(
        systems.wgan_gp_mnist, {"wasserstein", "gradient_penalty"}, **WASSERSTEIN
    ),
    "cvae_mnist": System(lambda: systems.cvae_mnist(**SMALL), labelled=True),
    "iwae_mnist": System(lambda: systems.iwae_mnist(**SMALL, num_samples=3)),
    "vae_flowers": System(lambda: systems.vae_flowers(**PHOTOGRAPHS)),
    "vae_animals": System(lambda: systems.vae_animals(**PHOTOGRAPHS, num_samples=2)),
}


def pixels(count: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Grey where there is ink, which is on a quarter of the pixels: something to learn."""
    rng = np.random.default_rng(count)
    ink = rng.random((count, *image_shape)) < 0.25
    return np.where(ink, rng.integers(1, 256, ink.shape), 0).astype(np.uint8)


class Trained(NamedTuple):
    """A learner after three epochs, each with an evaluation and samples.

    Attributes:
      learner: shared by the tests, so that each function is compiled once.
      system: its line in SYSTEMS.
      state: after the third epoch, on the host.
      metrics: of the last epoch and the last evaluation.
      samples: from the last state.
      compilations: names of the programs compiled in each epoch.
    """

    learner: Learner
    system: System
    state: PyTree
    metrics: tuple[Metrics, Metrics]
    samples: np.ndarray
    compilations: list[list[str]]

    def pixels(self, count: int = COUNT) -> np.ndarray:
        """Images of the system's shape."""
        return pixels(count, self.system.image_shape)

    def inputs(self, count: int) -> dict[str, Any]:
        """What the functions of a labelled system take beside images, latents and key."""
        return {"labels": np.arange(count, dtype=np.int32) % 10} if self.system.labelled else {}


@pytest.fixture(scope="module", autouse=True)
def under_key_reuse_checks(quick_compilation):
    with jax.debug_key_reuse(True):
        yield


@pytest.fixture(scope="module")
def compiled():
    """Names of the programs that XLA has compiled since the module began."""
    names: list[str] = []

    def listen(event: str, duration_secs: float, **details: Any):
        del duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def train(trained: Trained, seed: int, num_epochs: int = 3, compiled: list[str] | None = None):
    """What `runs` does: epochs, each followed by an evaluation and samples."""
    compiled = [] if compiled is None else compiled
    learner = trained.learner
    init_key, run_key = jax.random.split(jax.random.key(seed))
    state = learner.init(init_key)
    metrics, samples, compilations = ({}, {}), np.zeros(0), []
    for epoch in range(num_epochs):
        before = len(compiled)
        keys = jax.random.split(jax.random.fold_in(run_key, epoch), 3)
        state, means = learner.epoch(state, trained.pixels(), keys[0], **trained.inputs(COUNT))
        held_out = learner.evaluate(
            state, trained.pixels(HELD_OUT), keys[1], **trained.inputs(HELD_OUT)
        )
        samples = np.asarray(learner.sample(state, 5, keys[2]))
        metrics = (means, held_out)
        compilations.append(compiled[before:])
    state, metrics = jax.tree.map(np.array, (state, metrics))
    return trained._replace(
        state=state, metrics=metrics, samples=samples, compilations=compilations
    )


# One of each kind; the others are checked with the slow tests.
QUICK = {"vae_mnist", "vae_batchnorm_mnist", "vae_flowers", "wgan_mnist"}


@pytest.fixture(scope="module", params=slow_but(QUICK, SYSTEMS))
def trained(request, compiled) -> Trained:
    system = SYSTEMS[request.param]
    blank = Trained(system.build(), system, None, ({}, {}), np.zeros(0), [])
    return train(blank, seed=0, compiled=compiled)


def same(a: PyTree, b: PyTree) -> bool:
    """Bit for bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def outcome(trained: Trained):
    return trained.state, trained.metrics, trained.samples


def on_device(trained: Trained) -> PyTree:
    """A fresh copy of the trained state, which may be donated."""
    return jax.tree.map(jax.numpy.array, trained.state)


def test_every_system_is_in_the_suite():
    assert set(SYSTEMS) == set(systems.__all__)


def test_a_run_compiles_each_function_once(trained):
    learner = trained.learner
    first, *later = trained.compilations
    assert first.count("jit(epoch)") == first.count("jit(evaluate)") == 1
    assert later == [[], []]
    for function in (learner.init, learner.epoch, learner.evaluate, learner.sample):
        assert function._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]


def test_metrics_have_their_names_and_shapes(trained):
    epoch, held_out = trained.metrics
    system = trained.system
    assert set(epoch) == system.metrics | system.in_training | {"num_images"}
    assert set(held_out) == system.metrics | system.held_out
    rest = 4 if system.falls is None else 2  # a game fills its last step up
    np.testing.assert_array_equal(epoch["num_images"], [4, 4, 4, 4, 4, rest])
    for values in epoch.values():
        assert values.shape == (NUM_STEPS,)
    for value in held_out.values():
        assert value.shape == ()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained.metrics))


def test_the_state_is_one_pytree_of_arrays(trained):
    state = trained.learner.init(jax.random.key(1))
    leaves = jax.tree.leaves(state)
    assert leaves
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    # Training changes values alone: a checkpoint of any epoch fits the state of `init`.
    shape = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert shape(state) == shape(trained.state)
    assert trained.state.step == 3 * NUM_STEPS


def test_samples_and_decoded_latents_are_images(trained):
    learner = trained.learner
    latent_size = SMALL["latent_size"]
    latents = np.random.default_rng(0).standard_normal((6, latent_size)).astype(np.float32)
    decoded = learner.decode(on_device(trained), latents, **trained.inputs(6))
    for images, count in ((trained.samples, 5), (decoded, 6)):
        assert images.shape == (count, *trained.system.image_shape)
        assert np.min(images) >= 0
        assert np.max(images) <= 1
    assert len(np.unique(trained.samples.reshape(5, -1), axis=0)) == 5


def test_encoders_come_with_reconstructions(trained):
    learner = trained.learner
    if not trained.system.encodes:
        assert learner.encode is None
        assert learner.reconstruct is None
        return
    state = on_device(trained)
    inputs = trained.inputs(HELD_OUT)
    mean, log_var = learner.encode(state, trained.pixels(HELD_OUT), **inputs)
    assert mean.shape == log_var.shape == (HELD_OUT, SMALL["latent_size"])
    reconstructions = learner.reconstruct(state, trained.pixels(HELD_OUT), **inputs)
    decoded = learner.decode(state, mean, **inputs)
    np.testing.assert_allclose(reconstructions, decoded, rtol=1e-6)


def test_the_same_key_gives_the_same_bits(trained):
    assert same(outcome(train(trained, seed=0)), outcome(trained))


def test_another_key_gives_another_run(trained):
    state, metrics, samples = outcome(train(trained, seed=1))
    assert not same(state.params, trained.state.params)
    assert not same(metrics, trained.metrics)
    assert not same(samples, trained.samples)


def test_thirty_steps_lower_the_loss_and_use_every_key_once(trained):
    learner, count = trained.learner, BATCH
    init_key, steps_key, epoch_key = jax.random.split(jax.random.key(2), 3)
    state = learner.init(init_key)
    history = []
    for i in range(30):
        key = jax.random.fold_in(steps_key, i)
        state, metrics = learner.step(state, trained.pixels(count), key, **trained.inputs(count))
        history.append(metrics)
    assert set(history[0]) == trained.system.metrics | trained.system.in_training
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(history))
    if (name := trained.system.falls) is not None:
        values = np.array([metrics[name] for metrics in history])
        # Measured: 0.31 to 0.43 of the first five remain in the last five.
        assert values[-5:].mean() < 0.6 * values[:5].mean()
    state, _ = learner.epoch(state, trained.pixels(), epoch_key, **trained.inputs(COUNT))
    with pytest.raises(jax.errors.KeyReuseError):  # the checks are on
        learner.sample(state, 5, epoch_key)


def test_uint8_and_float_images_agree(trained):
    state, inputs = on_device(trained), trained.inputs(HELD_OUT)
    scaled = trained.pixels(HELD_OUT).astype(np.float32) / 255
    from_uint8, from_float = (
        trained.learner.evaluate(state, images, jax.random.key(3), **inputs)
        for images in (trained.pixels(HELD_OUT), scaled)
    )
    for name, value in from_uint8.items():
        np.testing.assert_allclose(value, from_float[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("trained", slow_but({"vae_mnist", "wgan_mnist"}, SYSTEMS), indirect=True)
def test_a_population_is_fitted_under_jit_and_vmap(trained):
    learner = trained.learner

    def fit(key):
        init_key, epoch_key, sample_key = jax.random.split(key, 3)
        inputs = trained.inputs(COUNT)
        state, metrics = learner.epoch(
            learner.init(init_key), trained.pixels(), epoch_key, **inputs
        )
        return state, metrics, learner.sample(state, 5, sample_key)

    def keys():
        return jax.random.split(jax.random.key(4), 3)

    population = jax.jit(jax.vmap(fit))(keys())
    singles = [fit(key) for key in keys()]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *singles)

    def compare(path, a, b):
        # Batched matrix products round otherwise. Adam divides by the size of the gradient, so
        # that rounding noise of a parameter without one may move it by a part of its steps.
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=name)

    jax.tree.map_with_path(compare, population, stacked)
