"""Every objective on every VAE: values, weights, several samples, memory, and refusals."""

import inspect
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but

from jaxgen import runs, systems
from jaxgen.errors import UserError
from jaxgen.models import losses, monte_carlo
from jaxgen.models.likelihoods import bernoulli
from jaxgen.models.objectives import Objective, kl_weight
from jaxgen.models.variational import vae
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.runs import flags

pytestmark = pytest.mark.usefixtures("quick_compilation")
BATCH, LATENT_SIZE, STEPS = 6, 3, 4
DENSE: dict[str, Any] = {
    "image_shape": (4, 4, 1),
    "hidden_sizes": (5,),
    "latent_size": LATENT_SIZE,
    "batch_size": BATCH,
}
PHOTOGRAPHS: dict[str, Any] = {
    "resolution": 4,
    "channels": (3,),
    "latent_size": LATENT_SIZE,
    "batch_size": BATCH,
}
LOWER = 2  # dimensions of the lower latents of two stochastic layers
BUILDS = {
    "vae_mnist": partial(systems.vae_mnist, **DENSE),
    "vae_binarized_mnist": partial(systems.vae_binarized_mnist, **DENSE),
    "vae_batchnorm_mnist": partial(systems.vae_batchnorm_mnist, **DENSE),
    "cvae_mnist": partial(systems.cvae_mnist, **DENSE),
    "iwae_mnist": partial(systems.iwae_mnist, **DENSE),
    "iwae_mnist, two layers": partial(
        systems.iwae_mnist,
        **DENSE,
        stochastic_layers=2,
        lower_latent_size=LOWER,
        upper_hidden_sizes=(5,),
    ),
    "vae_flowers": partial(systems.vae_flowers, **PHOTOGRAPHS),
    "vae_animals": partial(systems.vae_animals, **PHOTOGRAPHS),
}


def batch(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    channels = 3 if name in ("vae_flowers", "vae_animals") else 1
    images = np.random.default_rng(0).random((BATCH, 4, 4, channels)).astype(np.float32)
    labels = {"labels": np.arange(BATCH, dtype=np.int32)} if name == "cvae_mnist" else {}
    return images, labels


def test_every_vae_is_tried_here():
    tried = {name.partition(",")[0] for name in BUILDS}
    assert tried == {name for name in systems.__all__ if name.startswith(("vae", "cvae", "iwae"))}


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "iwae_mnist, two layers"}, BUILDS))
def test_weight_and_free_bits_enter_every_loss_and_no_other_metric(name):
    # More free bits than any dimension has: each of them then costs exactly that.
    free_bits, beta = 100.0, 0.3
    learner = BUILDS[name](
        beta=beta,
        kl_schedule="linear",
        kl_schedule_steps=STEPS,
        free_bits=free_bits,
        num_samples=2,
        bound="elbo",
    )
    images, labels = batch(name)
    state = learner.init(jax.random.key(0))
    dimensions = LATENT_SIZE + (LOWER if "two layers" in name else 0)
    for step in range(STEPS + 2):
        held_out = learner.evaluate(state, images, jax.random.key(1), **labels)
        state, metrics = learner.step(
            state, images, jax.random.fold_in(jax.random.key(2), step), **labels
        )
        weight = beta * min(step / STEPS, 1)
        for m in (metrics, held_out):  # evaluation has the weight of the step it is made at
            np.testing.assert_allclose(m["kl_weight"], weight, rtol=1e-6)
            charge = m["loss"] - m["reconstruction"]
            np.testing.assert_allclose(charge, weight * free_bits * dimensions, rtol=1e-5)
            np.testing.assert_allclose(m["elbo"], -m["reconstruction"] - m["kl"], rtol=1e-6)


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "iwae_mnist, two layers"}, BUILDS))
@pytest.mark.parametrize("bound", ["iwae", "dreg"])
def test_every_vae_descends_an_importance_weighted_bound(name, bound):
    learner = BUILDS[name](bound=bound, num_samples=3)
    images, labels = batch(name)
    state = learner.init(jax.random.key(0))
    # Also under vmap and with a schedule.
    metrics = learner.evaluate(state, images, jax.random.key(1), **labels)
    before = jax.tree.map(np.array, state.params)
    state, _ = learner.step(state, images, jax.random.key(1), **labels)
    if name != "vae_flowers":  # whose beta is not 1
        assert metrics["loss"] <= -metrics["elbo"] + 1  # closed-form and sampled KL differ
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, state.params)
    assert all(jax.tree.leaves(moved)), moved


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [0, 0.1, 0.5, 1, 1]),
        ("cyclical", [0, 0.2, 1, 0, 0.2]),
        (optax.linear_schedule(1.0, 0.0, 20), [1, 0.95, 0.75, 0.5, 0.45]),
        (lambda step: step**2, [0, 1, 25, 100, 121]),
    ],
    ids=["constant", "linear", "cyclical", "optax", "function"],
)
def test_the_weight_is_beta_times_the_schedule(schedule, expected):
    weight = kl_weight(Objective(beta=0.5, kl_schedule=schedule, kl_schedule_steps=10))
    values = [
        float(weight(jnp.int32(step)))  # pyright: ignore[reportArgumentType]
        for step in (0, 1, 5, 10, 11)
    ]
    np.testing.assert_allclose(values, 0.5 * np.array(expected), rtol=1e-6)


def test_the_applied_weight_is_in_the_metrics_of_a_run(idx_folder, tmp_path):
    # 40 images in batches of 16 are 3 steps an epoch; the warm-up of 4 ends in the second.
    words = "--kl-schedule linear --kl-schedule-steps 4 --beta 2 --hidden-sizes 4 --batch-size 16"
    common = f"--dataset idx:{idx_folder} --workdir {tmp_path / 'run'} --num-epochs 2"
    args = f"{words} {common}".split()
    with runs.start(systems.vae_mnist, num_epochs=2, args=args) as run:
        for _ in run.epochs():
            pass
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    sizes = np.array([16, 16, 8]) / 40  # the mean over an epoch's images
    np.testing.assert_allclose(first["train/kl_weight"], 2 * sizes @ [0, 1 / 4, 2 / 4], rtol=1e-6)
    np.testing.assert_allclose(second["train/kl_weight"], 2 * sizes @ [3 / 4, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(first["test/kl_weight"], 2 * 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(second["test/kl_weight"], 2, rtol=1e-6)
    for record in (first, second):
        for split in ("train", "test"):
            elbo = -record[f"{split}/kl"] - record[f"{split}/reconstruction"]
            np.testing.assert_allclose(record[f"{split}/elbo"], elbo, rtol=1e-6)


def numpy_free_bits(kl, free_bits):
    return np.sum(np.maximum(kl.mean(axis=0), free_bits))


def test_free_bits_equal_their_formula_in_value_and_gradient():
    kl = np.random.default_rng(0).gamma(1.0, 0.5, (7, 5))
    kl[:, 0] = 0.01
    kl[0, 0] = 0.3  # above what is free for this image, below it for the batch
    for free_bits in (0.0, 0.25, 0.5):
        value, gradient = jax.value_and_grad(
            lambda kl, free_bits=free_bits: losses.with_free_bits(kl, free_bits).mean()
        )(jnp.asarray(kl, jnp.float32))
        np.testing.assert_allclose(value, numpy_free_bits(kl, free_bits), rtol=1e-6)
        expected = np.broadcast_to(kl.mean(axis=0) > free_bits, kl.shape) / len(kl)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    assert np.any(expected == 0)
    assert np.any(expected > 0)


IMAGE_SHAPE = (4, 4, 1)


def model(**objective):
    return vae(
        MLPEncoder((5,), LATENT_SIZE),
        MLPDecoder((5,), IMAGE_SHAPE),
        bernoulli(),
        image_shape=IMAGE_SHAPE,
        latent_size=LATENT_SIZE,
        objective=Objective(**objective),
    )


def fix_noise(monkeypatch, noise):
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype=None: noise.reshape(shape))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [None, 0, 2], ids=["one batch", "one by one", "in pairs"])
def test_several_samples_give_the_mean_of_single_ones(at_once, monkeypatch):
    images, _ = batch("vae_mnist")
    if at_once is not None:
        monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", at_once * images.nbytes)
    variables = model().init(jax.random.key(0))
    noise = np.random.default_rng(1).standard_normal((4, BATCH, LATENT_SIZE)).astype(np.float32)

    def gradient(noise):
        fix_noise(monkeypatch, noise)
        several = model(num_samples=len(noise))
        loss = lambda params: several.loss({"params": params}, images, jax.random.key(0), 0)  # noqa: E731
        return jax.grad(loss, has_aux=True)(variables["params"])

    grads, (metrics, _) = gradient(noise)
    singles = [gradient(each[None]) for each in noise]
    mean = jax.tree.map(lambda *x: np.mean(x, axis=0), *singles)
    compare = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(compare, (grads, metrics), (mean[0], mean[1][0]))


@pytest.mark.parametrize("at_once", [None, 0], ids=["one batch", "one by one"])
def test_averaging_images_compares_once_with_their_mean(at_once, monkeypatch):
    images, _ = batch("vae_mnist")
    if at_once is not None:
        monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", at_once)
    averaging = model(num_samples=4, average_images=True, beta=0.0)
    variables = averaging.init(jax.random.key(0))
    noise = np.random.default_rng(1).standard_normal((4, BATCH, LATENT_SIZE)).astype(np.float32)
    fix_noise(monkeypatch, noise)
    metrics = averaging.evaluate(variables, images, jax.random.key(0), 0)
    mean, log_var = averaging.encode(variables, images)
    decoded = [averaging.decode(variables, mean + np.exp(log_var / 2) * each) for each in noise]
    p = np.float64(np.mean(decoded, axis=0))
    expected = -np.sum(images * np.log(p) + (1 - images) * np.log(1 - p), axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    # The other metrics keep to the derived objective: by Jensen, the mean image looks better.
    assert np.all(metrics["reconstruction"] > metrics["loss"])


@pytest.mark.usefixtures("optimized")
def test_many_samples_of_photographs_take_the_memory_of_few(monkeypatch):
    shape, count = (32, 32, 3), 64
    images = np.zeros((count, *shape), np.float32)

    def peak(num_samples):
        photographs = vae(
            MLPEncoder((8,), 2),
            MLPDecoder((512,), shape),
            bernoulli(),
            image_shape=shape,
            latent_size=2,
            objective=Objective(num_samples=num_samples),
        )
        variables = jax.eval_shape(photographs.init, jax.random.key(0))
        step = jax.jit(jax.grad(lambda v: photographs.loss(v, images, jax.random.key(0), 0)[0]))
        analysis = step.lower(variables).compile().memory_analysis()
        return analysis.temp_size_in_bytes  # pyright: ignore[reportOptionalMemberAccess]

    one, few, many = peak(1), peak(10), peak(20)
    assert few > 4 * one
    assert many > 1.9 * few  # in one batch
    monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", images.nbytes)
    one_by_one = peak(10)
    assert peak(20) < 1.05 * one_by_one
    # What is added to one sample's memory is the sum of the gradients of the weights, 6 MB, and
    # the samples of a loop's next turn.
    weights = 4 * 512 * np.prod(shape)
    assert one_by_one < 1.7 * (one + weights)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # which has the memory
    assert peak(10) == few


def test_batchnorm_sees_all_samples_in_one_batch(monkeypatch):
    # Its statistics are part of the model: memory must not decide about them.
    images, _ = batch("vae_batchnorm_mnist")
    learner = BUILDS["vae_batchnorm_mnist"](num_samples=4)
    wanted, _ = learner.step(learner.init(jax.random.key(0)), images, jax.random.key(1))
    monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", 0)
    learner = BUILDS["vae_batchnorm_mnist"](num_samples=4)
    state, _ = learner.step(learner.init(jax.random.key(0)), images, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, state.collections, wanted.collections)


def test_the_keywords_are_the_fields():
    signature = inspect.signature(systems.vae_flowers)
    defaults = {name: signature.parameters[name].default for name in Objective._fields}
    assert defaults == Objective(beta=0.1)._asdict()


def test_a_misspelt_keyword_is_refused_by_name():
    with pytest.raises(TypeError, match="latent_sise"):
        systems.vae_mnist(latent_sise=3)  # pyright: ignore[reportCallIssue]


def test_objectives_are_flags():
    words = "--kl-schedule cyclical --free-bits 0.1 --bound dreg --num-samples 3 --average-images"
    given = flags.parse(
        systems.vae_animals, num_epochs=1, args=list[str](words.split())
    ).hyperparameters
    chosen = {name: given[name] for name in Objective._fields}
    assert (
        chosen
        == Objective(
            kl_schedule="cyclical", free_bits=0.1, bound="dreg", num_samples=3, average_images=True
        )._asdict()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "beta .* at least 0, got -1"),
        ({"free_bits": float("nan")}, "free_bits .* got nan"),
        ({"num_samples": 0}, "num_samples .* at least 1, got 0"),
        ({"kl_schedule_steps": 0}, "kl_schedule_steps .* at least 1, got 0"),
        ({"kl_schedule": "sometimes"}, "constant, linear, cyclical or .* got 'sometimes'"),
        ({"bound": "upper"}, "elbo, iwae or dreg, got 'upper'"),
        ({"bound": "iwae", "free_bits": 0.1}, "bound elbo beside free_bits, got iwae"),
        ({"bound": "dreg", "average_images": True}, "bound elbo beside average_images, got dreg"),
    ],
)
def test_an_impossible_objective_is_a_user_error(options, message):
    with pytest.raises(UserError, match=message) as error:
        systems.vae_mnist(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bound", ["iwae", "dreg"])
@pytest.mark.parametrize("name", ["vae_mnist", "iwae_mnist, two layers"])
def test_without_weight_a_bound_of_one_sample_is_the_reconstruction(name, bound):
    images, _ = batch(name)
    learner = BUILDS[name](bound=bound, beta=0.0, num_samples=1)
    metrics = learner.evaluate(learner.init(jax.random.key(0)), images, jax.random.key(1))
    np.testing.assert_allclose(metrics["loss"], metrics["reconstruction"], rtol=1e-6)


@pytest.mark.parametrize("at_once", [monte_carlo.BYTES_AT_ONCE, 0])
def test_every_sample_has_random_numbers_of_its_own(at_once, monkeypatch):
    monkeypatch.setattr(monte_carlo, "BYTES_AT_ONCE", at_once)

    def decoder(latents, labels, key):
        return jax.random.uniform(key, (len(latents),)), {}

    latents, images = jnp.zeros((3, 2, 1)), jnp.zeros((2, 1, 1, 1))
    drawn, _ = monte_carlo.map_samples(
        lambda output: output, decoder, latents, images, None, jax.random.key(0)
    )
    assert len(np.unique(drawn)) == 6
