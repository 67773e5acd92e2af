"""Training on models so simple that the results are known in advance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.errors import UserError
from jaxgen.learners import minimize
from jaxgen.types import Model

pytestmark = pytest.mark.usefixtures("quick_compilation")

COUNT, BATCH = 22, 4
NUM_STEPS = 6  # the last one sees two images
BATCH_SIZES = [4, 4, 4, 4, 4, 2]


def images(count=COUNT) -> np.ndarray:
    """Image i is the one whose only pixel is i."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def witness(num_classes=0) -> Model:
    """A model that reports what it was shown: images, labels, and a draw from its key.

    Its loss pulls `w` towards the mean image, so that the order of the steps shows in the state.
    """

    def strangers(images, labels):
        """1 for each image that came without its label, which is its pixel."""
        return jnp.ones(len(images)) if labels is None else labels != images.reshape(-1)

    def init(key):
        params = {"w": jax.random.normal(key, (3,))}
        return {"params": params, "batch_stats": {"num_images": jnp.zeros(())}}

    def loss(variables, images, key, step, labels=None):
        pixels = images.astype(jnp.float32).reshape(-1)
        w = variables["params"]["w"]
        value = 0.5 * jnp.mean(jnp.sum((w[None] - pixels[:, None]) ** 2, axis=1))
        seen = jax.nn.one_hot(images.reshape(-1), COUNT).sum(axis=0)
        metrics = {
            "strangers": jnp.sum(strangers(images, labels)),
            "loss": value,
            "seen": seen,
            "draw": jax.random.uniform(key),
            "steps_taken": step,
        }
        num_images = variables["batch_stats"]["num_images"] + len(images)
        return value, (metrics, {"batch_stats": {"num_images": num_images}})

    def evaluate(variables, images, key, step, labels=None):
        pixels = images.astype(jnp.float32).reshape(-1)
        draw = jax.random.uniform(key, (len(images),))
        unknown = strangers(images, labels)
        taken = jnp.full(len(images), step, jnp.float32)
        metrics = {"pixel": pixels, "square": pixels**2, "draw": draw, "strangers": unknown}
        return metrics | {"steps_taken": taken}

    return Model(init, loss, evaluate, (1, 1, 1), num_classes=num_classes)


@pytest.fixture(scope="module")
def learner():
    return minimize(witness(), optax.adam(0.1), batch_size=BATCH)


@pytest.fixture(scope="module")
def labelled():
    return minimize(witness(num_classes=COUNT), optax.adam(0.1), batch_size=BATCH)


@pytest.fixture(scope="module")
def epochs(learner):
    """Two epochs from one state, under two keys: (first metrics, second metrics)."""
    state = learner.init(jax.random.key(0))
    state, first = learner.epoch(state, images(), jax.random.key(1))
    _, second = learner.epoch(state, images(), jax.random.key(2))
    return first, second


def test_steps_are_adam_as_published(learner):
    state = learner.init(jax.random.key(0))
    w = np.float64(state.params["w"])
    m = v = np.zeros(3)
    batches = [images()[:4], images()[7:11], images()[:1]]
    for t, batch in enumerate(batches, start=1):
        loss = 0.5 * np.mean(np.sum((w - batch.reshape(-1, 1)) ** 2, axis=1))
        state, metrics = learner.step(state, batch, jax.random.key(t))
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        gradient = w - batch.mean()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert state.step == t
        # 1 − 0.999^t in float32 is good to 6e-5 of itself, and moves a step of 0.1 by half that.
        np.testing.assert_allclose(state.params["w"], w, rtol=0, atol=1e-5)


def test_an_epoch_shows_every_image_once(epochs):
    for metrics in epochs:
        np.testing.assert_array_equal(metrics["num_images"], BATCH_SIZES)
        seen = np.asarray(metrics["seen"])
        assert seen.shape == (NUM_STEPS, COUNT)
        np.testing.assert_array_equal(seen.sum(axis=1), BATCH_SIZES)
        np.testing.assert_array_equal(seen.sum(axis=0), 1)


def test_the_model_is_told_how_many_steps_were_taken(learner, epochs):
    taken = np.concatenate([metrics["steps_taken"] for metrics in epochs])
    np.testing.assert_array_equal(taken, np.arange(2 * NUM_STEPS))
    state, _ = learner.epoch(learner.init(jax.random.key(0)), images(), jax.random.key(1))
    held_out = learner.evaluate(state, images(), jax.random.key(1))
    np.testing.assert_allclose(held_out["steps_taken"], NUM_STEPS, rtol=1e-6)


def test_every_epoch_has_another_order(epochs):
    first, second = (np.asarray(metrics["seen"]) for metrics in epochs)
    in_order = np.repeat(np.eye(NUM_STEPS), BATCH, axis=1)[:, :COUNT]
    for a, b in ((first, second), (first, in_order), (second, in_order)):
        assert not np.array_equal(a, b)


def test_every_step_has_its_own_key(epochs):
    draws = np.concatenate([metrics["draw"] for metrics in epochs])
    assert len(np.unique(draws)) == 2 * NUM_STEPS


def test_an_epoch_is_its_steps_one_by_one(learner):
    # The order is permutation(first half of the key); step i has fold_in(second half, i).
    key = jax.random.key(5)
    state, metrics = learner.epoch(learner.init(jax.random.key(0)), images(), key)
    shuffle_key, steps_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(shuffle_key, COUNT))
    by_hand = learner.init(jax.random.key(0))
    for i in range(NUM_STEPS):
        batch = images()[order[i * BATCH : (i + 1) * BATCH]]
        by_hand, step_metrics = learner.step(by_hand, batch, jax.random.fold_in(steps_key, i))
        assert metrics["draw"][i] == step_metrics["draw"]
        np.testing.assert_array_equal(metrics["seen"][i], step_metrics["seen"])
        np.testing.assert_allclose(metrics["loss"][i], step_metrics["loss"], rtol=1e-6)
    # Two programs of the same mathematics: XLA may fuse, and so round, each in its own way.
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6)  # noqa: E731
    jax.tree.map(compare, state, by_hand)
    assert state.step == NUM_STEPS


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("ends", [[6], [3, 6], [2, 5, 6], [1, 4, 100], [6, 6]])
def test_an_epoch_in_stretches_is_the_whole_epoch(learner, ends):
    key = jax.random.key(5)
    whole, metrics = learner.epoch(learner.init(jax.random.key(0)), images(), key)
    state, parts, start = learner.init(jax.random.key(0)), [], 0
    for stop in ends:
        state, part = learner.epoch(state, images(), key, start=start, stop=stop)
        inside = np.array([start <= i < stop for i in range(NUM_STEPS)])
        np.testing.assert_array_equal(part["num_images"] > 0, inside)
        for values in part.values():
            np.testing.assert_array_equal(values[~inside], 0)
        parts.append(part)
        start = stop
    assert same(state, whole)
    assert same(jax.tree.map(lambda *x: sum(x), *parts), metrics)


def test_one_program_serves_every_stretch():
    learner = minimize(witness(), optax.adam(0.1), batch_size=BATCH)
    state = learner.init(jax.random.key(0))
    for start, stop in ((0, 2), (2, 5), (5, 6)):
        state, _ = learner.epoch(state, images(), jax.random.key(1), start=start, stop=stop)
    assert learner.epoch._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert state.step == NUM_STEPS


@pytest.mark.parametrize("count", [22, 20, 4, 3, 1])
def test_evaluation_is_the_mean_over_all_images(learner, count):
    state = learner.init(jax.random.key(0))
    before = jax.tree.map(np.array, state)
    metrics = learner.evaluate(state, images(count), jax.random.key(1))
    # Integers below 2^24 add without rounding: what is left is the one division.
    np.testing.assert_allclose(metrics["pixel"], np.arange(count).mean(), rtol=1.2e-7)
    np.testing.assert_allclose(metrics["square"], (np.arange(count) ** 2.0).mean(), rtol=1.2e-7)
    jax.tree.map(np.testing.assert_array_equal, before, state)


def test_every_batch_of_an_evaluation_has_its_own_key(learner):
    # Were one key used for all, the mean of 20 draws would be the mean of one batch of 4.
    state = learner.init(jax.random.key(0))
    key = jax.random.key(1)
    whole = learner.evaluate(state, images(20), key)["draw"]
    keys = [jax.random.fold_in(key, i) for i in range(5)]
    draws = np.stack([jax.random.uniform(key, (BATCH,)) for key in keys])
    assert len(np.unique(draws)) == 20
    np.testing.assert_allclose(whole, draws.mean(), rtol=1e-6)


def test_running_statistics_are_handed_from_step_to_step(learner):
    state, _ = learner.epoch(learner.init(jax.random.key(0)), images(), jax.random.key(1))
    np.testing.assert_array_equal(state.collections["batch_stats"]["num_images"], COUNT)
    state, _ = learner.step(state, images(5), jax.random.key(2))
    np.testing.assert_array_equal(state.collections["batch_stats"]["num_images"], COUNT + 5)


def test_labels_stay_with_their_images(learner, labelled):
    unlabelled, learner = learner, labelled
    state = learner.init(jax.random.key(0))
    labels = np.arange(COUNT, dtype=np.int32)
    state, epoch = learner.epoch(state, images(), jax.random.key(1), labels=labels)
    state, step = learner.step(state, images(5), jax.random.key(2), labels=labels[:5])
    held_out = learner.evaluate(state, images(), jax.random.key(3), labels=labels)
    for metrics in (epoch, step, held_out):
        np.testing.assert_array_equal(metrics["strangers"], 0)
    # And where a system has no labels, none are made up.
    without = unlabelled.evaluate(state, images(), jax.random.key(3))
    np.testing.assert_array_equal(without["strangers"], 1)


def test_what_a_model_lacks_a_learner_lacks(learner):
    assert learner.sample is learner.decode is learner.encode is learner.reconstruct is None


@pytest.mark.parametrize("function", ["step", "epoch"])
def test_the_state_is_donated(learner, function):
    state = learner.init(jax.random.key(0))
    after, _ = getattr(learner, function)(state, images(), jax.random.key(1))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))


def test_data_on_the_device_survive_an_epoch(learner):
    on_device = jnp.asarray(images())
    learner.epoch(learner.init(jax.random.key(0)), on_device, jax.random.key(1))
    np.testing.assert_array_equal(on_device, images())


@pytest.mark.parametrize("batch_size", [0, -1, float("nan")])
def test_an_impossible_batch_size_is_a_user_error(batch_size):
    with pytest.raises(UserError) as error:
        minimize(witness(), optax.sgd(1.0), batch_size=batch_size)
    message = f"expected batch_size to be a whole number of at least 1, got {batch_size}"
    assert str(error.value) == message


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_larger_than_the_data_is_a_user_error(learner, count):
    state = learner.init(jax.random.key(0))
    with pytest.raises(UserError, match=f"batch of 4 images, got {count} images: .*smaller") as e:
        learner.epoch(state, images(count), jax.random.key(1))
    assert "\n" not in str(e.value)
    assert not state.step.is_deleted()  # a refused call leaves the state usable


def test_evaluating_nothing_is_a_user_error(learner):
    with pytest.raises(UserError, match="expected at least one image, got"):
        learner.evaluate(learner.init(jax.random.key(0)), images()[:0], jax.random.key(1))
