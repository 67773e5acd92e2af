"""The objectives of the autoencoders, and every gradient, against NumPy."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from jaxgen.errors import UserError
from jaxgen.models import Hierarchy, Objective, autoencoder, hierarchical_vae, vae
from jaxgen.models.likelihoods import Likelihood, bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.usefixtures("quick_compilation")

IMAGE_SHAPE = (3, 2, 2)
LATENT_SIZE = 3
SIZES = (6, 5)
BATCH = 7
SLOPE = 0.2
SHAPES: dict[str, Any] = {"image_shape": IMAGE_SHAPE, "latent_size": LATENT_SIZE}


def networks(batch_norm=False):
    activation = partial(nn.leaky_relu, negative_slope=SLOPE)
    return (
        MLPEncoder(SIZES, LATENT_SIZE, activation, batch_norm),
        MLPDecoder(SIZES[::-1], IMAGE_SHAPE, activation, batch_norm),
    )


def grey_images(count=BATCH):
    return np.random.default_rng(0).random((count, *IMAGE_SHAPE))


def random_variables(model, dtype):
    """Every entry random: zeros and ones would hide what they touch."""
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.uniform(-0.6, 0.6, x.shape).astype(dtype), shapes)


def numpy_objective(params, images, noise, beta):
    """Metrics and gradients of a VAE by hand; noise None makes it the plain autoencoder."""
    encoder, decoder = params["encoder"], params["decoder"]
    x = images.reshape(len(images), -1)
    code, encoder_cache, _ = references.hidden(encoder["hidden"], x, SLOPE)
    mean, log_var = (references.dense(encoder[head], code) for head in ("mean", "log_var"))
    latents = mean if noise is None else mean + np.exp(log_var / 2) * noise
    features, decoder_cache, _ = references.hidden(decoder["hidden"], latents, SLOPE)
    logits = references.dense(decoder["output"], features)
    p = 1 / (1 + np.exp(-logits))
    reconstruction = -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1).mean()
    kl = np.sum(0.5 * (np.exp(log_var) + mean**2 - 1 - log_var), axis=1).mean()

    grads: dict[str, dict] = {"encoder": {}, "decoder": {}}
    by_logits = (p - x) / len(x)
    grads["decoder"]["output"], by_features = references.dense_gradients(
        decoder["output"], features, by_logits
    )
    grads["decoder"]["hidden"], by_latents = references.hidden_gradients(
        decoder["hidden"], decoder_cache, SLOPE, by_features
    )
    if noise is None:
        by_mean, by_log_var = by_latents, np.zeros_like(by_latents)
        metrics = {"loss": reconstruction, "reconstruction": reconstruction}
    else:
        by_mean = by_latents + beta * mean / len(x)
        by_log_var = by_latents * noise * np.exp(log_var / 2) / 2
        by_log_var += beta * 0.5 * (np.exp(log_var) - 1) / len(x)
        metrics = {
            "loss": reconstruction + beta * kl,
            "elbo": -reconstruction - kl,
            "kl": kl,
            "reconstruction": reconstruction,
            "kl_weight": beta,
        }
    by_code = np.zeros_like(code)
    for head, grad in (("mean", by_mean), ("log_var", by_log_var)):
        grads["encoder"][head], by_input = references.dense_gradients(encoder[head], code, grad)
        by_code += by_input
    grads["encoder"]["hidden"], _ = references.hidden_gradients(
        encoder["hidden"], encoder_cache, SLOPE, by_code
    )
    return metrics, grads


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("family", ["vae", "autoencoder"])
def test_metrics_and_all_gradients_equal_numpy(family, batch_norm, monkeypatch):
    noise = np.random.default_rng(1).standard_normal((BATCH, LATENT_SIZE))
    beta = 0.7
    with jax.enable_x64(True):  # so that the only differences left are roundings in float64
        if family == "vae":
            objective = Objective(beta=beta)
            model = vae(*networks(batch_norm), bernoulli(), objective=objective, **SHAPES)
        else:
            model = autoencoder(*networks(batch_norm), bernoulli(), **SHAPES)
        variables = random_variables(model, np.float64)
        draws = []

        def normal(key, shape, dtype):
            draws.append(shape)
            return jnp.asarray(noise, dtype).reshape(shape)

        monkeypatch.setattr(jax.random, "normal", normal)
        batch_stats = variables.get("batch_stats", {})

        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            return model.loss(variables, grey_images(), jax.random.key(1), 0)

        grads, (metrics, _) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert draws == ([(1, BATCH, LATENT_SIZE)] if family == "vae" else [])
    expected, expected_grads = numpy_objective(
        variables["params"], grey_images(), noise if family == "vae" else None, beta
    )
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-12, err_msg=name)
    assert jax.tree.structure(grads) == jax.tree.structure(expected_grads)
    compare = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13)
    jax.tree.map_with_path(
        lambda path, x, y: compare(x, y, err_msg=jax.tree_util.keystr(path)), grads, expected_grads
    )


@pytest.fixture(scope="module")
def variables():
    return random_variables(vae(*networks(), bernoulli(), **SHAPES), np.float32)


def test_beta_enters_the_loss_alone(variables):
    images = grey_images().astype(np.float32)
    close = partial(np.testing.assert_allclose, rtol=1e-6)  # but for the rounding of each mean
    by_beta = []
    for beta in (0.0, 4.0):
        model = vae(*networks(), bernoulli(), objective=Objective(beta=beta), **SHAPES)
        loss, (metrics, _) = jax.jit(model.loss)(variables, images, jax.random.key(1), 0)
        assert loss == metrics["loss"]
        close(metrics["elbo"], -(metrics["kl"] + metrics["reconstruction"]))
        close(loss, metrics["reconstruction"] + beta * metrics["kl"])
        by_beta.append(metrics)
    for name in ("elbo", "kl", "reconstruction"):
        close(by_beta[0][name], by_beta[1][name], err_msg=name)


def test_metrics_of_evaluation_are_those_of_each_image(variables):
    model = vae(*networks(), bernoulli(), **SHAPES)
    images = grey_images().astype(np.float32)
    per_image = model.evaluate(variables, images, jax.random.key(1), 0)
    _, (means, _) = model.loss(variables, images, jax.random.key(1), 0)
    assert set(per_image) == set(means) == {"loss", "elbo", "kl", "reconstruction", "kl_weight"}
    for name, values in per_image.items():
        assert values.shape == (BATCH,)
        # Without BatchNorm, training and evaluation are the same mathematics.
        np.testing.assert_allclose(values.mean(), means[name], rtol=1e-6)


def test_the_latent_is_drawn_with_the_posterior_standard_deviation():
    # Decoder and likelihood hand the latent out: its moments are then those of q(z|x).
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            ones = jnp.ones((len(images), 1))
            return 0.5 * ones, -1.2 * ones

    class Identity(nn.Module):
        @nn.compact
        def __call__(self, latents, train):
            return latents

    reveal = Likelihood(lambda output, images: output[:, 0], lambda output: output)
    model = vae(Constant(), Identity(), reveal, image_shape=(1, 1, 1), latent_size=1)
    count = 40_000
    metrics = model.evaluate({}, jnp.zeros((count, 1, 1, 1)), jax.random.key(0), 0)
    latents = -np.asarray(metrics["reconstruction"], np.float64)
    variance = np.exp(-1.2)
    assert abs(latents.mean() - 0.5) / np.sqrt(variance / count) < 4
    assert abs(latents.var() - variance) / (variance * np.sqrt(2 / count)) < 4


@pytest.mark.parametrize("family", ["vae", "autoencoder"])
def test_loss_is_invariant_to_batch_size(family, variables):
    # A posterior without width, exp(−50), so that the noise of the batches does not matter.
    params = jax.tree.map(lambda x: x, variables["params"])
    head = params["encoder"]["log_var"]
    params["encoder"]["log_var"] = {
        "kernel": jnp.zeros_like(head["kernel"]),
        "bias": jnp.full_like(head["bias"], -100),
    }
    build = vae if family == "vae" else autoencoder
    model = build(*networks(), bernoulli(), **SHAPES)
    loss = jax.jit(model.loss)
    image = grey_images(1).astype(np.float32)
    losses = {
        size: loss({"params": params}, np.tile(image, (size, 1, 1, 1)), jax.random.key(size), 0)
        for size in (1, 3, 7)
    }
    for size in (3, 7):  # float32: the matrix products of another batch may round otherwise
        for name, value in losses[size][1][0].items():
            np.testing.assert_allclose(value, losses[1][1][0][name], rtol=1e-6, err_msg=name)


def test_another_key_draws_other_noise(variables):
    model = vae(*networks(), bernoulli(), **SHAPES)
    images = grey_images().astype(np.float32)
    first, again, other = (
        model.loss(variables, images, jax.random.key(seed), 0)[0] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("family", ["vae", "autoencoder"])
def test_sample_decode_and_reconstruct_give_images(family, variables):
    build = vae if family == "vae" else autoencoder
    model = build(*networks(), bernoulli(), **SHAPES)
    images = grey_images().astype(np.float32)
    mean, log_var = model.encode(variables, images)
    assert mean.shape == log_var.shape == (BATCH, LATENT_SIZE)
    np.testing.assert_array_equal(log_var == -np.inf, family == "autoencoder")
    reconstructions = model.reconstruct(variables, images)
    np.testing.assert_array_equal(reconstructions, model.decode(variables, mean))
    samples = model.sample(variables, 4, jax.random.key(1))
    # Far latents drive the logits far: the pixels must stay within [0, 1] all the same.
    decoded = model.decode(variables, 1e4 * np.eye(LATENT_SIZE, dtype=np.float32))
    for pixels, count in ((reconstructions, BATCH), (samples, 4), (decoded, LATENT_SIZE)):
        assert pixels.shape == (count, *IMAGE_SHAPE)
        assert np.min(pixels) >= 0
        assert np.max(pixels) <= 1
    assert not np.array_equal(samples, model.sample(variables, 4, jax.random.key(2)))


def test_samples_decode_standard_normal_latents(variables, monkeypatch):
    latents = np.random.default_rng(0).standard_normal((4, LATENT_SIZE)).astype(np.float32)
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: latents.reshape(shape))
    model = vae(*networks(), bernoulli(), **SHAPES)
    samples = model.sample(variables, 4, jax.random.key(1))
    np.testing.assert_array_equal(samples, model.decode(variables, latents))


@pytest.mark.parametrize("binarization", ["none", "threshold", "dynamic"])
def test_encoder_and_likelihood_see_the_same_pixels(binarization):
    class Pixels(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            x = images.reshape(len(images), -1)
            return x, x

    class Identity(nn.Module):
        @nn.compact
        def __call__(self, latents, train):
            return latents

    agree = Likelihood(
        lambda output, images: jnp.sum(output != images.reshape(output.shape), axis=1), lambda x: x
    )
    count = Likelihood(lambda output, images: -jnp.sum(images, axis=(1, 2, 3)), lambda x: x)
    shapes: dict[str, Any] = {"image_shape": (10, 10, 1), "latent_size": 100}
    grey = jnp.full((4, 10, 10, 1), 0.303)
    build = partial(autoencoder, Pixels(), Identity(), binarization=binarization, **shapes)
    for evaluate in (
        lambda model: model.evaluate({}, grey, jax.random.key(0), 0)["reconstruction"],
        lambda model: model.loss({}, grey, jax.random.key(0), 0)[0],
    ):
        np.testing.assert_array_equal(evaluate(build(likelihood=agree)), 0)
        total = np.asarray(evaluate(build(likelihood=count)))
        if binarization == "none":
            np.testing.assert_allclose(total, 30.3, rtol=1e-6)
        elif binarization == "threshold":
            np.testing.assert_array_equal(total, 0)
        else:  # whole pixels, some 30 of 100 white; the mean over four images is in quarters
            np.testing.assert_array_equal(4 * total, np.round(4 * total))
            assert np.all((total > 10) & (total < 50))
    # Without a key there is no draw to make: the encoder sees the mean of the draws.
    mean, _ = build(likelihood=count).encode({}, grey)
    np.testing.assert_array_equal(mean, 0 if binarization == "threshold" else np.float32(0.303))


@pytest.mark.parametrize("beta", [-1e-6, float("nan"), float("inf")])
def test_an_impossible_beta_is_a_user_error(beta):
    with pytest.raises(UserError, match=r"expected beta .* at least 0, got"):
        vae(*networks(), bernoulli(), objective=Objective(beta=beta), **SHAPES)


@pytest.mark.parametrize("build", [vae, autoencoder])
def test_an_unknown_binarization_is_a_user_error(build):
    with pytest.raises(UserError, match="'sometimes'"):
        build(*networks(), bernoulli(), binarization="sometimes", **SHAPES)


class Extreme(nn.Module):
    """Gives a mean and a log_var of any size, which are its parameters."""

    size: int

    @nn.compact
    def __call__(self, x, *, train):
        shape = (len(x), self.size)
        outputs = [
            self.param(name, nn.initializers.zeros, (self.size,)) for name in ("mean", "log_var")
        ]
        return tuple(jnp.broadcast_to(output, shape) for output in outputs)


def extreme_model(layers):
    decoder = MLPDecoder((6,), IMAGE_SHAPE)
    if layers == 1:
        return vae(Extreme(3), decoder, bernoulli(), image_shape=IMAGE_SHAPE, latent_size=3)
    networks = Hierarchy(Extreme(3), Extreme(2), Extreme(3), decoder)
    return hierarchical_vae(networks, bernoulli(), image_shape=IMAGE_SHAPE, latent_size=2)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("value", [1e4, -1e4])
@pytest.mark.parametrize("head", ["mean", "log_var"])
def test_extreme_outputs_of_the_encoder_stay_finite(layers, value, head):
    model = extreme_model(layers)
    variables = model.init(jax.random.key(0))
    encoder = "encoder" if layers == 1 else "lower_encoder"
    variables["params"][encoder][head] = jnp.full(3, value)
    images = grey_images().astype(np.float32)

    def loss(params):
        metrics, _ = model.loss({**variables, "params": params}, images, jax.random.key(1), 0)[1]
        return metrics["loss"], metrics

    (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    assert all(np.isfinite(value) for value in jax.tree.leaves(metrics))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(model.sample(variables, 4, jax.random.key(2))).all()
