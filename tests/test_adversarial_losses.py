"""Adversarial losses against their formulas; the gradient penalty against calculus."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgen.convolutions import conv
from jaxgen.models import adversarial_losses as losses

REAL = np.array([-3.0, -0.5, 0.0, 0.4, 1.5, 40.0])
FAKE = np.array([2.0, -1.5, 0.0, 0.7, -40.0, 0.25])


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def log_d(x):
    return log_sigmoid(x)


def log_not_d(x):
    return log_sigmoid(-x)


FORMULAS = {
    "NON_SATURATING": (lambda r, f: -log_d(r) - log_not_d(f), lambda f: -log_d(f)),
    "MINIMAX": (lambda r, f: -log_d(r) - log_not_d(f), lambda f: log_not_d(f)),
    "LEAST_SQUARES": (lambda r, f: ((r - 1) ** 2 + f**2) / 2, lambda f: (f - 1) ** 2 / 2),
    "HINGE": (lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda f: -f),
    "WASSERSTEIN": (lambda r, f: f - r, lambda f: -f),
}


def slope(f, x, h=1e-6):
    return (f(x + h) - f(x - h)) / (2 * h)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_gradients(name):
    loss = getattr(losses, name)
    critic, generator = FORMULAS[name]
    np.testing.assert_allclose(loss.critic(REAL, FAKE), critic(REAL, FAKE), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(loss.generator(FAKE), generator(FAKE), rtol=1e-6, atol=1e-30)
    total = lambda r, f: jnp.sum(loss.critic(r, f))  # noqa: E731
    by_real, by_fake = jax.grad(total, (0, 1))(jnp.asarray(REAL), jnp.asarray(FAKE))
    by_generator = jax.grad(lambda f: jnp.sum(loss.generator(f)))(jnp.asarray(FAKE))
    # Central differences of float64 are good to about 1e-9.
    close: Any = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(by_real, slope(lambda r: critic(r, FAKE), REAL), **close)
    np.testing.assert_allclose(by_fake, slope(lambda f: critic(REAL, f), FAKE), **close)
    np.testing.assert_allclose(by_generator, slope(generator, FAKE), **close)
    assert np.all(by_generator <= 0) or name == "LEAST_SQUARES"


@pytest.mark.parametrize("name", ["NON_SATURATING", "MINIMAX"])
def test_sure_critics_give_finite_losses(name):
    loss = getattr(losses, name)
    scores = jnp.array([-1e4, 1e4])
    assert np.isfinite(loss.critic(scores, scores)).all()
    assert np.isfinite(jax.grad(lambda f: jnp.sum(loss.generator(f)))(scores)).all()


def images(count=4, shape=(6, 5, 2)):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=(count, *shape))) for _ in range(2))


def test_the_norm_is_of_each_example_not_of_each_element():
    real, fake = images(count=3)
    scale = np.array([0.1, 1.0, 7.0], np.float32)
    w = np.random.default_rng(1).normal(size=real.shape[1:]).astype(np.float32)
    value = losses.gradient_penalty(
        lambda x: jnp.asarray(scale) * jnp.sum(w[None] * x, axis=(1, 2, 3)),
        real,
        fake,
        jax.random.key(0),
    )
    np.testing.assert_allclose(value, (scale * np.linalg.norm(w) - 1) ** 2, rtol=1e-6)


def test_it_is_taken_between_each_pair():
    # ∇ ½‖x‖² = x, so that the penalty tells where it was taken: on the line from fake to real.
    real, fake = images()
    penalty = losses.gradient_penalty(
        lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3)), real, fake, jax.random.key(3)
    )
    e = np.linspace(0, 1, 20_001)[None, :, None]
    ends = [np.asarray(x).reshape(4, 1, -1) for x in (real, fake)]
    norms = np.linalg.norm(ends[0] * e + ends[1] * (1 - e), axis=2)
    distance = np.min(np.abs((norms - 1) ** 2 - np.asarray(penalty)[:, None]), axis=1)
    assert np.all(distance < 1e-3)
    # One ε for a whole image, and another for each image.
    same = jnp.broadcast_to(real[:1], real.shape)
    other = jnp.broadcast_to(fake[:1], fake.shape)
    spread = losses.gradient_penalty(
        lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3)), same, other, jax.random.key(3)
    )
    assert len(np.unique(spread)) == 4


def critic(params, x, convolve):
    x = jnp.tanh(convolve(x, params["kernel"]))
    return jnp.sum(x * params["w"][None], axis=(1, 2, 3))


def critic_params():
    rng = np.random.default_rng(2)
    return {"kernel": rng.normal(size=(4, 4, 2, 3)), "w": rng.normal(size=(3, 2, 3))}


def penalty_loss(params, convolve):
    real, fake = images()
    f = lambda x: critic(params, x, convolve)  # noqa: E731
    return jnp.mean(losses.gradient_penalty(f, real, fake, jax.random.key(1)))


def ours(x, w):
    return conv(x, w, strides=2, padding=1)


def of_lax(x, w):
    dims = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=dims)


def test_its_gradient_in_the_parameters_is_that_of_finite_differences():
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, critic_params())
        loss = jax.jit(lambda params: penalty_loss(params, ours))
        grads = jax.jit(jax.grad(loss))(params)
        rng = np.random.default_rng(3)
        for name in params:
            direction = jnp.asarray(rng.normal(size=params[name].shape))
            h = 1e-5
            ends = [loss(params | {name: params[name] + s * h * direction}) for s in (1, -1)]
            expected = (ends[0] - ends[1]) / (2 * h)
            np.testing.assert_allclose(jnp.vdot(grads[name], direction), expected, rtol=1e-7)
        # The fast convolutions differentiate twice as lax's does.
        reference = jax.jit(jax.grad(lambda params: penalty_loss(params, of_lax)))(params)
        for name in params:
            np.testing.assert_allclose(grads[name], reference[name], rtol=1e-9, atol=1e-12)


def test_a_flat_critic_gives_no_nan():
    real, fake = images()
    w = jnp.zeros(real.shape[1:])
    loss = lambda w: jnp.sum(  # noqa: E731
        losses.gradient_penalty(
            lambda x: jnp.sum(jax.nn.relu(x * w[None]), axis=(1, 2, 3)),
            real,
            fake,
            jax.random.key(0),
        )
    )
    value, grad = jax.value_and_grad(loss)(w)
    assert value == len(real)  # (0 − 1)² for each
    assert np.all(np.isfinite(grad))
