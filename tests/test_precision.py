"""bfloat16: networks compute in it, everything around them is float32."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but

from jaxgen import learners, models, runs, systems
from jaxgen.errors import UserError
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.bfloat16 import product

pytestmark = pytest.mark.usefixtures("quick_compilation")
DENSE: dict[str, Any] = {"image_shape": (8, 8, 1), "hidden_sizes": (16,), "latent_size": 3}
SYSTEMS: dict[str, dict[str, Any]] = {
    "vae_mnist": DENSE,
    "vae_batchnorm_mnist": DENSE | {"hidden_sizes": (16, 8)},
    "cvae_mnist": DENSE,
    "autoencoder_mnist": DENSE,
    "vae_flowers": {"resolution": 8, "channels": (4, 4), "latent_size": 3},
    "vae_animals": {"resolution": 8, "channels": (4, 4), "latent_size": 3},
    "iwae_mnist": DENSE
    | {
        "stochastic_layers": 2,
        "num_samples": 2,
        "lower_latent_size": 4,
        "upper_hidden_sizes": (5,),
    },
    "dcgan_mnist": {"generator_features": (8, 6, 4, 4), "critic_features": (4, 6)},
    "dcgan_flowers": {"image_shape": (8, 8, 3), "features": 4},
    "wgan_mnist": {"image_shape": (8, 8, 1), "generator_sizes": (8,), "critic_sizes": (8,)},
    "wgan_gp_mnist": {"image_shape": (8, 8, 1), "generator_sizes": (8,), "critic_sizes": (8,)},
}
SYSTEMS = {name: {**options, "batch_size": 16} for name, options in SYSTEMS.items()}


def trained(name, precision, num_images=160):
    learner = getattr(systems, name)(**SYSTEMS[name], precision=precision)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, *learner.image_shape)).astype(np.uint8)
    labels = {}
    if learner.num_classes:
        labels = {"labels": rng.integers(0, 10, num_images).astype(np.int32)}
    state = learner.init(jax.random.key(0))
    state, metrics = learner.epoch(state, images, jax.random.key(1), **labels)
    return learner, state, metrics, learner.evaluate(state, images, jax.random.key(2), **labels)


@pytest.mark.parametrize("name", slow_but({"vae_mnist", "vae_batchnorm_mnist"}, SYSTEMS))
def test_losses_are_near_those_of_float32(name):
    _, state, metrics, held_out = trained(name, "bfloat16")
    _, exact, expected, expected_held_out = trained(name, "float32")
    names = [metric for metric in expected if metric.endswith("loss")]
    for metric in names:
        # bfloat16 rounds to 1 in 256; losses of critics are near 0.
        np.testing.assert_allclose(
            metrics[metric], expected[metric], rtol=1e-2, atol=2e-2, err_msg=metric
        )
        np.testing.assert_allclose(held_out[metric], expected_held_out[metric], rtol=0.02, atol=0.1)
    assert any((np.asarray(metrics[m]) != np.asarray(expected[m])).any() for m in names)
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(exact), strict=True):
        assert leaf.dtype == other.dtype  # parameters, optimizer and statistics
    assert all(values.dtype == jnp.float32 for values in metrics.values())


def test_every_system_has_a_case():
    assert {*systems.__all__} - {*SYSTEMS} == {"vae_binarized_mnist"}  # networks of vae_mnist


def test_gradients_are_near_those_of_float32():
    """Under SGD a step is the gradient, and a wrong factor is not hidden."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype(np.uint8)
    moved = []
    for precision in ("bfloat16", "float32"):
        learner = systems.vae_mnist(**DENSE, precision=precision, optimizer=optax.sgd(1.0))
        before = learner.init(jax.random.key(0)).params
        after, _ = learner.step(learner.init(jax.random.key(0)), images, jax.random.key(1))
        moved.append(jax.tree.map(lambda a, b: np.asarray(a - b), after.params, before))
    for own, exact in zip(*map(jax.tree.leaves, moved), strict=True):
        # Rounding by 1 in 256 of each factor, over three products.
        assert np.linalg.norm(own - exact) < 0.02 * np.linalg.norm(exact)


def test_products_are_of_bfloat16():
    learner, state, _, _ = trained("vae_mnist", "bfloat16")
    images = np.zeros((16, 8, 8, 1), np.uint8)
    program = learner.step.lower(state, images, jax.random.key(0)).as_text()
    products = [line for line in program.splitlines() if "stablehlo.dot_general" in line]
    # Encoder, two heads and two layers of the decoder, forward and backward; the others are sums.
    assert sum("xbf16>" in line for line in products) >= 9
    if jax.default_backend() == "cpu":  # which has kernels for results in float32
        fast = [p for p in products if "xbf16>, " in p and p.rstrip().endswith("xf32>")]
        assert len(fast) >= 9
    samples = learner.sample(state, 4, jax.random.key(0))
    assert samples.dtype == jnp.float32


def exact_product(x, w):
    """By float64, rounded to bfloat16 once."""
    return (np.asarray(x, np.float64) @ np.asarray(w, np.float64)).astype(jnp.bfloat16)


@pytest.mark.parametrize("shape", [(16, 30), (2, 8, 30)], ids=["batch", "two batch axes"])
def test_the_product_of_a_dense_layer(shape):
    rng = np.random.default_rng(0)
    x, w, y = (
        rng.standard_normal(size).astype(jnp.bfloat16)
        for size in (shape, (30, 20), (*shape[:-1], 20))
    )
    value, vjp = jax.vjp(product, x, w)
    of_x, of_w = vjp(jnp.asarray(y))
    rows = [np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, y)]
    expected = exact_product(x, w), exact_product(y, w.T), exact_product(rows[0].T, rows[1])
    for found, exact in zip((value, of_x, of_w), expected, strict=True):
        assert found.dtype == jnp.bfloat16
        # Sums of 30 terms in float32 are rounded otherwise than exact ones once in thousands.
        np.testing.assert_allclose(
            np.asarray(found, np.float64), np.asarray(exact, np.float64), rtol=2**-7, atol=1e-6
        )
        assert np.mean(np.asarray(found) != exact) < 0.01


def test_second_derivatives_of_the_product():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(size).astype(jnp.bfloat16) for size in ((8, 6), (6, 5)))

    def penalty(multiply, w):  # the gradient of a gradient's norm, as of a gradient penalty
        slope = jax.grad(lambda x: jnp.sum(multiply(x, w).astype(jnp.float32) ** 2))(x)
        return jnp.sum(slope.astype(jnp.float32) ** 2)

    ours = jax.grad(lambda w: penalty(product, w))(w)
    exact = jax.grad(lambda w: penalty(jnp.matmul, w))(w.astype(jnp.float32))
    difference = np.linalg.norm(np.asarray(ours, np.float32) - exact)
    assert difference < 0.02 * np.linalg.norm(exact)


def test_networks_of_your_own():
    seen = []

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            seen.append(images.dtype)
            x = nn.BatchNorm(use_running_average=not train)(images.reshape(len(images), -1))
            return nn.Dense(2)(x), nn.Dense(2)(x)

    class Decoder(nn.Module):
        @nn.compact
        def __call__(self, latents, train):
            return nn.Dense(16)(latents).reshape(-1, 4, 4, 1)

    model = models.vae(
        Encoder(), Decoder(), bernoulli(), image_shape=(4, 4, 1), precision="bfloat16"
    )
    learner = learners.minimize(model, optax.adam(1e-3), batch_size=4)
    state = learner.init(jax.random.key(0))
    seen.clear()
    state, metrics = learner.step(state, np.zeros((4, 4, 4, 1), np.uint8), jax.random.key(1))
    assert set(seen) == {jnp.dtype(jnp.bfloat16)}
    statistics = jax.tree.leaves(state.collections)
    assert statistics
    assert all(leaf.dtype == jnp.float32 for leaf in statistics)
    assert np.isfinite(metrics["loss"])


def test_another_precision_is_refused():
    with pytest.raises(UserError, match="precision to be float32 or bfloat16, got 'float16'"):
        systems.vae_mnist(precision="float16")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="precision"):
        systems.wgan_mnist(precision="half")  # pyright: ignore[reportArgumentType]


def test_a_run_records_it_and_resumes_with_no_other(idx_folder, tmp_path):
    words = f"--hidden-sizes 6 --latent-size 2 --dataset idx:{idx_folder} --batch-size 8".split()
    words += ["--workdir", str(tmp_path / "run"), "--no-pictures"]

    def train(precision, num_epochs):
        args = [*words, "--precision", precision]
        with runs.start(systems.vae_mnist, num_epochs=num_epochs, args=args) as run:
            for _ in run.epochs():
                pass

    train("bfloat16", 1)
    assert runs.load(tmp_path / "run").config["precision"] == "bfloat16"
    with pytest.raises(UserError, match="precision bfloat16 there, float32 here"):
        train("float32", 2)
    train("bfloat16", 2)
