"""Wrong arguments from Python: each ends in one line that says what to do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import _checks, systems
from jaxgen.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (4, 4, 1)
DENSE: dict[str, Any] = {
    "image_shape": SHAPE,
    "hidden_sizes": (5,),
    "latent_size": 2,
    "batch_size": 4,
}
WIDER: dict[str, Any] = DENSE | {"hidden_sizes": (6,)}
GAN: dict[str, Any] = {
    "image_shape": SHAPE,
    "generator_sizes": (4,),
    "critic_sizes": (4,),
    "latent_size": 2,
    "num_critic_steps": 1,
    "batch_size": 4,
}


def pixels(count=8):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def learners():
    return {
        "vae": systems.vae_mnist(**DENSE),
        "cvae": systems.cvae_mnist(**DENSE),
        "gan": systems.wgan_mnist(**GAN),
    }


@pytest.fixture(scope="module")
def states(learners):
    return {name: learner.init(jax.random.key(0)) for name, learner in learners.items()}


def refused(call, *args, **keywords) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **keywords)
    message = str(error.value)
    assert message.startswith("expected "), message
    assert "\n" not in message
    return message


KEY = jax.random.key(1)
LABELS = np.zeros(8, np.int32)


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize("function", ["step", "epoch", "evaluate"])
@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        (lambda x: x[..., 0], "[8, 4, 4]", "reshape"),
        (lambda x: x.reshape(8, 2, 8, 1), "[8, 2, 8, 1]", "image_shape"),
        (lambda x: x.astype(np.int32), "int32", "convert"),
        (lambda x: x[:0], "[0, 4, 4, 1]", "pass some"),
        (lambda x: x.tolist(), "list", "np.asarray"),
        (lambda x: x.astype(np.float32), "0 to 25", "divide them by 255"),
        (lambda x: x / np.float32(127.5) - 1, "-1", "(x + 1) / 2"),
        (lambda x: (x / np.float32(255) - 0.13) / np.float32(0.31), "-0.4", "normalized"),
        (lambda x: np.where(x > 100, np.float32(np.nan), x / np.float32(255)), "NaN", "replace"),
    ],
)
def test_wrong_images(learners, states, name, function, change, found, remedy):
    message = refused(getattr(learners[name], function), states[name], change(pixels()), KEY)
    assert found in message
    assert remedy in message


def test_pixels_a_rounding_outside_the_range_are_accepted(learners, states):
    x = np.linspace(-1e-6, 1 + 1e-6, 8 * 16, dtype=np.float32).reshape(8, *SHAPE)
    assert np.isfinite(learners["vae"].evaluate(states["vae"], x, KEY)["loss"])


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize("function", ["step", "epoch", "evaluate"])
def test_labels_of_a_system_without(learners, states, name, function):
    call = getattr(learners[name], function)
    message = refused(call, states[name], pixels(), KEY, labels=LABELS)
    assert "expected no labels" in message


@pytest.mark.parametrize("function", ["step", "epoch", "evaluate", "encode", "reconstruct"])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, "got none"),
        (LABELS[:5], "[8], one for each of the images, got [5]"),
        (np.eye(10, dtype=np.int32)[LABELS], "labels.argmax(axis=1)"),
        (LABELS.astype(np.float32), "labels.astype(np.int32)"),
        (LABELS - 1, "in 0..9, got -1"),
        (LABELS + 10, "in 0..9, got 10"),
        ([0] * 8, "got list"),
        (jnp.zeros(3, jnp.int32), "got [3]"),
    ],
    ids=str,
)
def test_wrong_labels(learners, states, function, labels, expected):
    key = () if function in ("encode", "reconstruct") else (KEY,)
    call = getattr(learners["cvae"], function)
    assert expected in refused(call, states["cvae"], pixels(), *key, labels=labels)


def test_wrong_labels_of_samples_and_latents(learners, states):
    cvae, state = learners["cvae"], states["cvae"]
    assert "one for each of the samples" in refused(cvae.sample, state, 3, KEY, labels=LABELS)
    latents = np.zeros((3, 2), np.float32)
    assert "one for each of the latents" in refused(cvae.decode, state, latents, labels=LABELS)
    assert cvae.sample(state, 3, KEY).shape == (3, *SHAPE)


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize(
    ("key", "found"),
    [
        (0, "int"),
        (np.array([0, 1], np.uint32), "ndarray"),
        (None, "NoneType"),
        (jax.random.split(KEY, 3), "[3]"),
        (jnp.zeros(2), "float32[2]"),
    ],
    ids=["int", "numpy", "none", "three", "floats"],
)
def test_wrong_keys(learners, states, name, key, found):
    learner, state = learners[name], states[name]
    assert found in refused(learner.init, key)
    for function in (learner.step, learner.epoch, learner.evaluate):
        assert found in refused(function, state, pixels(), key)
    assert "jax.random.key(seed)" in refused(learner.sample, state, 2, key)


def test_the_old_kind_of_key_works(learners):
    assert learners["vae"].init(jax.random.PRNGKey(0)).step == 0


def test_states_of_another_learner(learners, states):
    for function in ("step", "epoch", "evaluate"):
        call = getattr(learners["vae"], function)
        message = refused(call, states["gan"], pixels(), KEY)
        assert "a MinimizeState, got AdversarialState" in message
        assert "got dict" in refused(call, states["vae"].params, pixels(), KEY)
    other = systems.vae_mnist(**WIDER).init(jax.random.key(0))
    message = refused(learners["vae"].step, other, pixels(), KEY)
    assert "[16, 5]" in message or "[5" in message
    other = states["vae"]._replace(optimizer_state=optax.sgd(0.1).init(states["vae"].params))
    assert "optimizer_state" in refused(learners["vae"].step, other, pixels(), KEY)
    assert not states["vae"].step.is_deleted()


def test_states_that_were_used_up(learners):
    for name in ("vae", "gan"):
        learner = learners[name]
        state = learner.init(jax.random.key(0))
        kept = jax.tree.map(jnp.copy, state)
        after, _ = learner.step(state, pixels(4), KEY)
        for function in ("step", "epoch", "evaluate"):
            message = refused(getattr(learner, function), state, pixels(), KEY)
            assert "passed to step or epoch before" in message
        assert "jnp.copy" in refused(learner.sample, state, 3, KEY)
        learner.step(kept, pixels(4), KEY)
        learner.step(after, pixels(4), KEY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", (28, 28)),
        ("image_shape", 28),
        ("image_shape", (28, 28, 0)),
        ("hidden_sizes", "abc"),
        ("hidden_sizes", (400.5,)),
        ("hidden_sizes", 400),
        ("hidden_sizes", (400, None)),
    ],
)
def test_sequences_of_whole_numbers(name, value):
    message = refused(lambda: systems.vae_mnist(**(DENSE | {name: value})))
    assert message.startswith(f"expected {name} to be ")
    assert f"got {value!r}: pass a sequence such as (400, 200" in message


def test_sequences_of_other_types_are_taken_where_their_meaning_is_plain():
    given: dict[str, Any] = DENSE | {"image_shape": [4, 4.0, np.int64(1)]}
    assert systems.vae_mnist(**given).image_shape == (4, 4, 1)
    given["hidden_sizes"] = np.array([5])
    state = systems.vae_mnist(**given).init(jax.random.key(0))
    assert state.params["encoder"]["mean"]["kernel"].shape == (5, 2)


def test_wrong_latents_and_counts(learners, states):
    for name in ("vae", "gan"):
        learner, state = learners[name], states[name]
        message = refused(learner.decode, state, np.zeros((3, 5), np.float32))
        assert "[N, 2], got [3, 5]" in message
        assert "[N, 2], got [2]" in refused(learner.decode, state, np.zeros(2, np.float32))
        for count in (0, -1, 2.5, "3"):
            assert str(count) in refused(learner.sample, state, count, KEY)
        assert learner.sample(state, np.int64(3), KEY).shape == (3, *SHAPE)


@pytest.mark.parametrize("value", [64, 64.0, np.int64(64), np.float32(64), np.array(64)])
def test_whole_numbers_of_any_type(value):
    number = _checks.whole_number("size", value)
    assert number == 64
    assert type(number) is int


@pytest.mark.parametrize("value", [0, 2.5, "64", None, (64, 64), float("nan"), float("inf"), True])
def test_other_numbers(value):
    assert str(value) in refused(_checks.whole_number, "size", value)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_whole_numbers_within_bounds(value):
    assert "from 0 to 4294967295" in refused(_checks.whole_number, "seed", value, 0, 2**32 - 1)


def test_traced_numbers_are_not_checked():
    def scaled(x):
        _checks.positive("x", x)
        _checks.at_least("x", x, 5)
        return 2 * x

    np.testing.assert_array_equal(jax.vmap(scaled)(jnp.arange(-1.0, 2)), [-2, 0, 2])


def test_a_choice_names_its_alternatives():
    message = refused(_checks.one_of, "mode", "c", ("a", "b"))
    assert message == "expected mode to be a or b, got 'c': pick one of them"
