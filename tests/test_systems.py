"""The named systems: published hyper-parameters, sizes, documentation and refusals."""

import inspect
from typing import Any

import docstring_parser
import jax
import numpy as np
import optax
import pytest

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.systems.optimizers import adam, rmsprop

OBJECTIVE: dict[str, Any] = {
    "beta": 1.0,
    "kl_schedule": "constant",
    "kl_schedule_steps": 2000,
    "free_bits": 0.0,
    "num_samples": 1,
    "bound": "elbo",
    "average_images": False,
}
COMMON: dict[str, Any] = {"image_shape": (28, 28, 1), "learning_rate": 1e-3}
GAN = COMMON | {"latent_size": 100, "ema_decay": None, "batch_size": 64}
WGAN = GAN | {"generator_sizes": (64, 256, 512), "critic_sizes": (64, 128), "num_critic_steps": 5}
VAE = COMMON | OBJECTIVE
PHOTOGRAPHS = OBJECTIVE | {
    "image_channels": 3,
    "batch_norm": False,
    "likelihood": "squared_error",
    "scale": 1.0,
    "batch_size": 64,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "vae_mnist": VAE
    | {"hidden_sizes": (400,), "latent_size": 20, "binarization": "none", "batch_size": 128},
    "vae_binarized_mnist": VAE
    | {
        "hidden_sizes": (200, 200),
        "latent_size": 20,
        "binarization": "threshold",
        "batch_size": 128,
    },
    "vae_batchnorm_mnist": VAE
    | {
        "hidden_sizes": (512, 256, 128),
        "latent_size": 32,
        "running_variance": "biased",
        "binarization": "none",
        "batch_size": 64,
    },
    "autoencoder_mnist": COMMON
    | {"hidden_sizes": (400,), "latent_size": 20, "binarization": "none", "batch_size": 128},
    "dcgan_mnist": GAN
    | {
        "generator_features": (512, 256, 128, 64),
        "critic_features": (64, 128, 256),
        "running_variance": "biased",
        "loss": "non_saturating",
        "num_critic_steps": 1,
        "learning_rate": 2e-4,
        "b1": 0.5,
    },
    "dcgan_flowers": GAN
    | {
        "image_shape": (64, 64, 3),
        "features": 64,
        "loss": "non_saturating",
        "num_critic_steps": 1,
        "learning_rate": 2e-4,
        "b1": 0.5,
        "ema_decay": 0.999,
    },
    "wgan_mnist": WGAN
    | {"weight_bound": 0.01, "running_variance": "biased", "learning_rate": 5e-5},
    "wgan_gp_mnist": WGAN | {"penalty_weight": 10.0, "learning_rate": 1e-4, "b1": 0.5, "b2": 0.9},
    "cvae_mnist": VAE
    | {
        "num_classes": 10,
        "hidden_sizes": (400,),
        "latent_size": 20,
        "binarization": "none",
        "batch_size": 128,
    },
    "iwae_mnist": VAE
    | {
        "stochastic_layers": 1,
        "hidden_sizes": (200, 200),
        "latent_size": 50,
        "lower_latent_size": 100,
        "upper_hidden_sizes": (100, 100),
        "binarization": "dynamic",
        "num_steps": 3280 * 60_000 // 20,
        "batch_size": 20,
        "bound": "iwae",
        "num_samples": 50,
    },
    "vae_flowers": PHOTOGRAPHS
    | {
        "resolution": 32,
        "channels": (16, 32, 64),
        "latent_size": 10,
        "learning_rate": 1e-4,
        "beta": 0.1,
    },
    "vae_animals": PHOTOGRAPHS
    | {
        "resolution": 128,
        "channels": (32, 64, 128, 256, 512),
        "latent_size": 128,
        "learning_rate": 1e-3,
        "num_samples": 10,
    },
}

# Weights + biases of every layer, in the order of systems.md.
MNIST_PARAMETERS = (784 * 400 + 400) + 2 * (400 * 20 + 20) + (20 * 400 + 400) + (400 * 784 + 784)
WGAN_PARAMETERS = (
    (100 * 64 + 64)
    + (64 * 256 + 256)
    + (256 * 512 + 512)
    + 2 * (64 + 256 + 512)
    + (512 * 784 + 784)
    + (784 * 64 + 64)
    + (64 * 128 + 128)
    + (128 + 1)
)
PARAMETERS = {
    "vae_mnist": MNIST_PARAMETERS,
    "vae_binarized_mnist": (784 * 200 + 200)
    + (200 * 200 + 200)
    + 2 * (200 * 20 + 20)
    + (20 * 200 + 200)
    + (200 * 200 + 200)
    + (200 * 784 + 784),
    "vae_batchnorm_mnist": (784 * 512 + 512)
    + (512 * 256 + 256)
    + (256 * 128 + 128)
    + 2 * (512 + 256 + 128)  # scale and bias of BatchNorm
    + 2 * (128 * 32 + 32)
    + (32 * 128 + 128)
    + (128 * 256 + 256)
    + (256 * 512 + 512)
    + 2 * (128 + 256 + 512)
    + (512 * 784 + 784),
    "autoencoder_mnist": MNIST_PARAMETERS,
    "dcgan_mnist": 25 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64)
    + 16 * 64  # generator's convolutions, none with a bias
    + 2 * (512 + 256 + 128 + 64)
    + 16 * (64 + 64 * 128 + 128 * 256)  # critic
    + 2 * (128 + 256)
    + (256 + 1),
    "dcgan_flowers": 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    + 2 * (512 + 256 + 128 + 64)
    + 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    + 2 * (128 + 256 + 512),
    "wgan_mnist": WGAN_PARAMETERS,
    "wgan_gp_mnist": WGAN_PARAMETERS,
    "cvae_mnist": MNIST_PARAMETERS + 10 * 400 + 10 * 400,
    "iwae_mnist": (784 * 200 + 200)
    + 2 * (200 * 200 + 200)
    + 2 * (200 * 50 + 50)
    + (50 * 200 + 200)
    + (200 * 784 + 784),
}
RUNNING = {  # running averages: a mean and a variance for each feature
    "vae_batchnorm_mnist": 2 * 2 * (512 + 256 + 128),
    "dcgan_mnist": 2 * (512 + 256 + 128 + 64 + 128 + 256),
    "dcgan_flowers": 2 * (512 + 256 + 128 + 64 + 128 + 256 + 512),
    "wgan_mnist": 2 * (64 + 256 + 512),
    "wgan_gp_mnist": 2 * (64 + 256 + 512),
}
NAMES = sorted(PUBLISHED)


def size(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def test_every_system_has_its_published_values_here():
    assert set(systems.__all__) == set(PUBLISHED)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_the_published_hyper_parameters(name):
    parameters = inspect.signature(getattr(systems, name)).parameters
    defaults = {key: p.default for key, p in parameters.items()}
    optimizers = {key for key in defaults if key.endswith("optimizer")}
    assert len(optimizers) == (2 if "gan" in name else 1)
    assert all(defaults.pop(key) is None for key in optimizers)
    assert defaults.pop("precision") == "float32"
    assert defaults == PUBLISHED[name]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_hyper_parameter_is_explained(name):
    function = getattr(systems, name)
    docstring = docstring_parser.parse(inspect.getdoc(function) or "")
    explained = {p.arg_name: p.description for p in docstring.params}
    assert list(explained) == list(inspect.signature(function).parameters)
    for argument, text in explained.items():
        assert text, argument
        assert text.endswith("."), argument


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name):
    state = jax.eval_shape(getattr(systems, name)().init, jax.random.key(0))
    assert size(state.params) == PARAMETERS[name]
    assert size(state.collections) == RUNNING.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learning_rate", [float("nan"), float("inf"), 0.0, -1e-3])
def test_an_impossible_learning_rate_is_a_user_error(name, learning_rate):
    with pytest.raises(UserError) as error:
        getattr(systems, name)(learning_rate=learning_rate)
    assert str(error.value) == (
        f"expected learning_rate to be a number above 0, got {learning_rate}"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {"latent_size": 0},
        {"hidden_sizes": (0,)},
        {"hidden_sizes": (8, 0)},
        {"batch_size": 0},
        {"beta": -0.1},
        {"beta": float("nan")},
        {"binarization": "unknown"},
        {"generator_sizes": (8, 0)},
        {"critic_sizes": (0,)},
        {"generator_features": (8, 8, 8, 0)},
        {"critic_features": (0,)},
        {"features": 0},
        {"loss": "unknown"},
        {"num_critic_steps": 0},
        {"weight_bound": 0.0},
        {"weight_bound": float("nan")},
        {"penalty_weight": -1.0},
        {"b1": 1.0},
        {"b2": -0.1},
        {"ema_decay": 1.0},
    ],
    ids=str,
)
def test_impossible_hyper_parameters_are_user_errors(name, options):
    if not options.keys() <= PUBLISHED[name].keys():
        pytest.skip("not a hyper-parameter of this system")
    with pytest.raises(UserError) as error:
        # Sizes of layers are known to be wrong where layers are made.
        jax.eval_shape(getattr(systems, name)(**options).init, jax.random.key(0))
    (value,) = options.values()
    message = str(error.value)
    assert message.startswith("expected ")
    assert str(value[-1] if isinstance(value, tuple) else value) in message
    assert "\n" not in message


OPTIMIZERS = {  # made for: networks of an autoencoder; generator and critic
    "dcgan_mnist": 2 * [("adam", (0.0123, 0.5, 0.999), {})],
    "dcgan_flowers": 2 * [("adam", (0.0123, 0.5, 0.999), {})],
    "wgan_mnist": 2 * [("rmsprop", (0.0123,), {"decay": 0.99, "eps": 1e-8, "eps_in_sqrt": False})],
    "wgan_gp_mnist": 2 * [("adam", (0.0123, 0.5, 0.9), {})],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_optimizer_is_the_published_one_with_the_given_learning_rate(name, monkeypatch):
    made = []
    for kind in ("adam", "rmsprop"):
        record = lambda *a, kind=kind, **k: made.append((kind, a, k)) or optax.sgd(0.0)  # noqa: E731
        monkeypatch.setattr(optax, kind, record)
    getattr(systems, name)(learning_rate=0.0123)
    if name == "iwae_mnist":  # its rate falls, and its paper has an epsilon of its own
        ((kind, (rate,), options),) = made
        assert (kind, options) == ("adam", {"eps": 1e-4})
        np.testing.assert_allclose(rate(0), 0.0123, rtol=1e-6)
        np.testing.assert_allclose(rate(10**9), 0.00123, rtol=1e-6)
    else:
        assert made == OPTIMIZERS.get(name, [("adam", (0.0123,), {})])


def test_rmsprop_has_the_constants_of_pytorch():
    optimizer = rmsprop(0.01)
    state, v = optimizer.init(np.zeros(2, np.float32)), np.zeros(2)
    for gradient in np.array([[1e-7, 3.0], [1e-8, -1.0], [-2e-8, 0.5]]):
        updates, state = optimizer.update(gradient.astype(np.float32), state)
        v = 0.99 * v + 0.01 * gradient**2
        np.testing.assert_allclose(
            np.asarray(updates), -0.01 * gradient / (np.sqrt(v) + 1e-8), rtol=1e-5
        )


def test_adam_has_the_constants_of_its_paper():
    optimizer = adam(0.01)
    params = np.zeros(2, np.float32)
    state = optimizer.init(params)
    m = v = np.zeros(2)
    for t, gradient in enumerate(np.array([[1e-8, 3.0], [1e-7, -1.0], [-2e-8, 0.5]]), start=1):
        updates, state = optimizer.update(gradient.astype(np.float32), state)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = -0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        # 1 − 0.999^t in float32 is good to 6e-5 of itself.
        np.testing.assert_allclose(np.asarray(updates), expected, rtol=1e-4)
