"""Decoders translated for a web page: the same pixels as JAX's, in headless Chromium."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browser import opened

from jaxgen import systems
from jaxgen.visualization._pages import page
from jaxgen.visualization.explorations import decoder_program
from jaxgen.visualization.programs import UntranslatableError, rounded, translate

pytestmark = pytest.mark.usefixtures("quick_compilation")

HALF_A_GREY_LEVEL = 0.5 / 255

# Every kind of decoder, the dense ones and vae_flowers as published, the others narrower.
DECODERS = {
    "vae_mnist": {},
    "vae_batchnorm_mnist": {},
    "cvae_mnist": {},
    "iwae_mnist": {},
    "vae_flowers": {},
    "vae_flowers with BatchNorm": {"batch_norm": True, "likelihood": "gaussian_learned_scale"},
    "vae_animals": {"resolution": 32, "channels": (4, 8, 16), "latent_size": 16},
    "wgan_mnist": {},
    "dcgan_mnist": {"generator_features": (32, 16, 8, 8), "latent_size": 10},
    "dcgan_flowers": {"image_shape": (32, 32, 3), "features": 4, "latent_size": 10},
}


@pytest.fixture(scope="module")
def engine(chromium, tmp_path_factory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("engine") / "engine.html"
    path.write_text(page("engine", "", scripts=("engine.js",)))
    with opened(chromium, path) as window:
        yield window


def run(engine: Any, program: Any, *inputs: np.ndarray) -> np.ndarray:
    """The program's output for each row of the inputs, [N, *output_shape[1:]]."""
    weights = base64.b64encode(program.weights()).decode()
    rows = [[part[n : n + 1].ravel().tolist() for part in inputs] for n in range(len(inputs[0]))]
    values = engine.evaluate(
        """([program, weights, rows]) => {
          const run = jaxgenEngine.compile(program, jaxgenEngine.bytesOf(weights));
          return rows.map((row) => Array.from(run(...row)));
        }""",
        [program.description(), weights, rows],
    )
    return np.array(values).reshape(-1, *program.output_shape[1:])


def trained(learner: Any) -> Any:
    """A state with large weights, and with biases, scales and averages of many sizes."""
    rng = np.random.default_rng(0)

    def of_leaf(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        if len(leaf.shape) < 2:
            return rng.uniform(0.1, 1.0, leaf.shape).astype(np.float32)
        # Kernels of transposed convolutions have their inputs last, the others their outputs.
        spread = 2 / np.sqrt(np.prod(leaf.shape) / leaf.shape[-1])
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    return jax.tree.map(of_leaf, jax.eval_shape(learner.init, jax.random.key(0)))


@pytest.mark.parametrize("name", DECODERS)
def test_pixels_equal_those_of_jax_with_the_same_rounded_weights(engine, name):
    learner = getattr(systems, name.split()[0])(**DECODERS[name])
    state = rounded(trained(learner))
    latents = np.random.default_rng(1).normal(size=(100, learner.latent_size)).astype(np.float32)
    labels = {"labels": np.arange(100) % 10} if learner.num_classes else {}

    expected = np.asarray(learner.decode(state, latents, **labels))
    found = run(engine, decoder_program(learner, state), latents, *labels.values())

    # Far below 1/255; what is left are roundings of float32.
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)
    assert expected.std(axis=0).mean() > HALF_A_GREY_LEVEL  # the latents matter


class Various(nn.Module):
    """A user's decoder: what the published ones do not use."""

    @nn.compact
    def __call__(self, z):
        x = nn.gelu(nn.Dense(48)(z), approximate=False)
        x = nn.LayerNorm()(x).reshape(-1, 4, 12)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        x = nn.swish(x).reshape(-1, 4, 4, 3)
        x = jax.image.resize(x, (len(x), 8, 8, 3), "nearest")
        x = nn.elu(nn.Conv(6, (3, 3), feature_group_count=3)(x))
        x = nn.GroupNorm(num_groups=2)(x)
        x = nn.ConvTranspose(4, (3, 3), strides=(2, 2))(x)
        x = jnp.concatenate([x, x[:, ::-1].swapaxes(1, 2)[:, 2:]], axis=1)[:, :20, :14]
        x = nn.softplus(jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=0.5))
        return nn.softmax(jnp.clip(x, 0.1, 2.0)) ** 3 / jnp.sqrt(1 + x**2)


@pytest.mark.slow
def test_networks_of_ones_own_are_translated(engine):
    network, latents = Various(), jax.random.normal(jax.random.key(2), (20, 5))
    variables = rounded(network.init(jax.random.key(0), latents))

    def one(z: Any) -> Any:
        return network.apply(variables, z)

    program = translate(one, jax.ShapeDtypeStruct((1, 5), jnp.float32))
    expected = jax.jit(lambda rows: jax.lax.map(lambda row: one(row[None])[0], rows))(latents)
    found = run(engine, program, np.asarray(latents))
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda z: z + jax.random.normal(jax.random.key(z[0, 0].astype(int)), z.shape), "random"),
        (lambda z: jax.lax.fori_loop(0, 3, lambda i, x: x * jnp.sin(x), z), "scan|while"),
        (lambda z: jnp.sort(z), "sort"),
        (lambda z: jnp.arange(4.0)[z.astype(jnp.int32)], "gather"),
    ],
)
def test_what_a_page_cannot_run_is_named(function: Callable, reason: str):
    with pytest.raises(UntranslatableError, match=reason):
        translate(function, jax.ShapeDtypeStruct((1, 3), jnp.float32))


def test_what_does_not_depend_on_the_input_is_computed_beforehand():
    noise = jax.random.normal(jax.random.key(0), (1, 3))
    program = translate(lambda z: z + jnp.sort(noise**2), jax.ShapeDtypeStruct((1, 3), jnp.float32))
    assert [step.get("f") for step in program.steps] == ["add", "copy"]
    ((_, constant),) = program.constants
    np.testing.assert_array_equal(constant, np.sort(np.asarray(noise) ** 2))


def test_constants_are_halves_only_where_that_loses_nothing():
    half, third = np.full((1, 3), [0.5, 1, 2]), np.full((1, 3), [1 / 3, 1, 2])

    def dtype(values):
        array = jnp.asarray(values, jnp.float32)
        program = translate(lambda z: z * array, jax.ShapeDtypeStruct((1, 3), jnp.float32))
        return program.constants[0][1].dtype

    assert dtype(half) == np.float16
    assert dtype(third) == np.float32
    assert dtype(1e6 * half) == np.float32


def test_a_constant_is_kept_once_along_axes_that_do_not_change_it():
    bias = jnp.arange(5.0)
    function = lambda z: z + jnp.broadcast_to(bias, (1, 8, 8, 5))  # noqa: E731
    program = translate(function, jax.ShapeDtypeStruct((1, 8, 8, 5), jnp.float32))
    assert program.constants[0][1].size == 5


def test_rounding_keeps_what_halves_cannot_hold():
    state = {"w": jnp.array([1 / 3]), "variance": jnp.array([1e5, 0.1]), "step": jnp.array(70001)}
    kept = rounded(state)
    assert kept["w"] == np.float16(1 / 3)
    np.testing.assert_array_equal(kept["variance"], state["variance"])
    assert kept["step"] == 70001
