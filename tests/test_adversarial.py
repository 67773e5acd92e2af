"""The adversarial descent against the same steps written out plainly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but

from jaxgen import models, systems
from jaxgen.errors import UserError
from jaxgen.learners import adversarial, adversarial_training, with_averaged_generator
from jaxgen.models.adversarial_losses import NON_SATURATING
from jaxgen.models.diversity import mean_pairwise_distance, relative_diversity
from jaxgen.networks.dcgan import PyramidCritic, PyramidGenerator
from jaxgen.networks.mlp import MLPCritic, MLPGenerator
from jaxgen.transforms import clip_weights
from jaxgen.types import AdversarialModel, Learner

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPE = (8, 8, 1)
LATENTS, BATCH = 3, 4
# Adam and RMSprop divide by the size of a gradient, and would turn rounding noise into steps.
SGD = optax.sgd(0.5, momentum=0.9)


def pixels(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


# --- the order of updates ------------------------------------------------------------------------


class Plain:
    """The published loop, one line a step: modules applied by hand, optimizers stepped by hand.

    Like a PyTorch module in training mode, each call of a network moves its running averages.
    """

    def __init__(self, state, networks, optimizers, losses, weight_bound=None):
        self.networks, self.optimizers = networks, optimizers
        self.critic_loss, self.generator_loss = losses
        self.params, self.stats = dict(state.params), dict(state.collections)
        self.optimizer_state = dict(state.optimizer_state)
        self.weight_bound = weight_bound
        self.calls = {"generator": 0, "critic": 0}
        self.norms = {"generator": [], "critic": []}

    def forward(self, name, params, x):
        variables = {"params": params, **self.stats[name]}
        out, updated = self.networks[name].apply(variables, x, True, mutable=["batch_stats"])
        self.stats[name] = jax.lax.stop_gradient(dict(updated))
        self.calls[name] += 1
        return out

    def descend(self, name, grads):
        squares = [np.sum(np.square(np.float64(leaf))) for leaf in jax.tree.leaves(grads)]
        self.norms[name].append(np.sqrt(sum(squares)))
        updates, self.optimizer_state[name] = self.optimizers[name].update(
            grads, self.optimizer_state[name], self.params[name]
        )
        self.params[name] = optax.apply_updates(self.params[name], updates)
        if name == "critic" and (bound := self.weight_bound):
            clipped = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), self.params[name])
            self.params[name] = clipped

    def gradient(self, name, loss):
        """∇ loss in the parameters of a network; running averages move once."""

        def with_stats(params):
            value = loss(params)
            return value, (dict(self.stats), value)

        grads, (stats, value) = jax.grad(with_stats, has_aux=True)(self.params[name])
        self.stats = stats
        return grads, value

    def critic_step(self, images, fakes):
        def loss(params):
            real_scores = self.forward("critic", params, images)
            fake_scores = self.forward("critic", params, fakes)
            return self.critic_loss(real_scores, fake_scores)

        grads, value = self.gradient("critic", loss)
        self.descend("critic", grads)
        return value

    def shared_step(self, slices, noises):
        """All critic updates; the generator descends on the fakes of the last."""
        values = []
        for images, noise in zip(slices[:-1], noises[:-1], strict=True):
            fakes = self.forward("generator", self.params["generator"], noise)
            values.append(self.critic_step(images, fakes))

        before = self.stats["generator"]
        fakes = self.forward("generator", self.params["generator"], noises[-1])
        after = self.stats["generator"]
        values.append(self.critic_step(slices[-1], fakes))
        generator_calls = self.calls["generator"]

        def loss(params):  # the same fakes again, as a function of the parameters
            self.stats["generator"] = before
            fakes = self.forward("generator", params, noises[-1])
            return self.generator_loss(self.forward("critic", self.params["critic"], fakes))

        grads, value = self.gradient("generator", loss)
        assert self.calls["generator"] == generator_calls + 1
        self.stats["generator"] = after
        self.descend("generator", grads)
        return values, value

    def fresh_step(self, slices, noises):
        """All critic updates; the generator descends on fakes of its own."""
        values = []
        for images, noise in zip(slices, noises[:-1], strict=True):
            fakes = self.forward("generator", self.params["generator"], noise)
            values.append(self.critic_step(images, fakes))

        def loss(params):
            fakes = self.forward("generator", params, noises[-1])
            return self.generator_loss(self.forward("critic", self.params["critic"], fakes))

        grads, value = self.gradient("generator", loss)
        self.descend("generator", grads)
        return values, value


def binary_cross_entropies(real_scores, fake_scores):
    real, fake = jax.nn.sigmoid(real_scores), jax.nn.sigmoid(fake_scores)
    return -jnp.mean(jnp.log(real)) - jnp.mean(jnp.log(1 - fake))


CROSS_ENTROPY = (binary_cross_entropies, lambda s: -jnp.mean(jnp.log(jax.nn.sigmoid(s))))
WASSERSTEIN = (lambda r, f: jnp.mean(f) - jnp.mean(r), lambda f: -jnp.mean(f))


def noises_of(key, sizes, shared):
    """The noise of a step: what is drawn from its key, for critic updates, then the generator."""
    updates_key, generator_key, shared_key = jax.random.split(key, 3)
    keys = [jax.random.split(jax.random.fold_in(updates_key, i))[0] for i in range(len(sizes))]
    if shared:
        keys[-1] = jax.random.split(shared_key)[0]
    else:
        keys, sizes = [*keys, generator_key], [*sizes, sizes[0]]
    return [jax.random.normal(key, (n, LATENTS)) for key, n in zip(keys, sizes, strict=True)]


class Game(NamedTuple):
    model: AdversarialModel
    learner: Learner
    networks: dict
    optimizers: dict
    losses: tuple
    pixel_range: tuple[float, float]
    num_critic_steps: int
    shared: bool
    weight_bound: float | None = None


def dcgan(num_critic_steps):
    networks = {"generator": PyramidGenerator(SHAPE, 3), "critic": PyramidCritic(SHAPE, 4)}
    optimizers = {name: SGD for name in networks}
    model = models.gan(
        **networks,
        image_shape=SHAPE,
        latent_size=LATENTS,
        loss=NON_SATURATING,
        pixel_range=(-1.0, 1.0),
    )
    learner = adversarial(
        model,
        optimizers["generator"],
        optimizers["critic"],
        num_critic_steps,
        batch_size=BATCH,
        share_fakes=True,
    )
    return Game(
        model, learner, networks, optimizers, CROSS_ENTROPY, (-1, 1), num_critic_steps, True
    )


def wgan():
    networks = {"generator": MLPGenerator((6, 5), SHAPE), "critic": MLPCritic((6,))}
    optimizers = {name: SGD for name in networks}
    model = models.wgan(**networks, image_shape=SHAPE, latent_size=LATENTS)
    learner = adversarial(
        model,
        optimizers["generator"],
        optax.chain(SGD, clip_weights(0.05)),
        3,
        batch_size=BATCH,
    )
    return Game(model, learner, networks, optimizers, WASSERSTEIN, (-1, 1), 3, False, 0.05)


GAMES = {"dcgan": lambda: dcgan(1), "dcgan, 3 critic steps": lambda: dcgan(3), "wgan": wgan}


@pytest.mark.parametrize("name", slow_but({"dcgan"}, GAMES))
def test_steps_are_those_of_the_plain_loop(name):
    game = GAMES[name]()
    state = game.learner.init(jax.random.key(0))
    host = jax.tree.map(jnp.array, state)
    if game.weight_bound:  # its optimizer state has an (empty) one of clip_weights beside
        host = host.changed("critic", optimizer_state=host.optimizer_state["critic"][0])
    plain = Plain(host, game.networks, game.optimizers, game.losses, game.weight_bound)
    whole = game.num_critic_steps * BATCH
    low, high = game.pixel_range
    for i, count in enumerate([whole, whole, whole - BATCH // 2]):  # the last one is ragged
        key = jax.random.key(10 + i)
        images = pixels(count, seed=i)
        seen = (low + (high - low) * (images / 255)).astype(np.float32)
        slices = [seen[j : j + BATCH] for j in range(0, count, BATCH)]
        sizes = [len(part) for part in slices]
        noises = noises_of(key, sizes, game.shared)
        values, value = (plain.shared_step if game.shared else plain.fresh_step)(slices, noises)
        state, metrics = game.learner.step(state, images, key)
        # Both sides are float32; products are summed in another order.
        np.testing.assert_allclose(
            metrics["critic_loss"], np.average(np.asarray(values), weights=sizes), rtol=2e-5
        )
        np.testing.assert_allclose(metrics["generator_loss"], value, rtol=2e-5, atol=1e-7)
        norm = np.average(plain.norms["critic"][-len(sizes) :], weights=sizes)
        np.testing.assert_allclose(metrics["critic_gradient_norm"], norm, rtol=1e-4)
        norm = plain.norms["generator"][-1]
        np.testing.assert_allclose(metrics["generator_gradient_norm"], norm, rtol=1e-4)
        for mine, theirs in ((state.collections, plain.stats), (state.params, plain.params)):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), mine, theirs
            )
    assert state.step == 3


# --- epochs --------------------------------------------------------------------------------------


def witness() -> AdversarialModel:
    """A model that reports the images it was shown; image i is the one whose only pixel is i."""

    def init(key):
        return {"params": {"g": jnp.zeros(())}}, {"params": {"c": jnp.zeros(())}}

    def generate(variables, num_images, key):
        return variables["params"]["g"] + jax.random.normal(key, (num_images, 1, 1, 1)), {}

    def critic_loss(variables, images, fakes, key):
        seen = jax.nn.one_hot(images.reshape(-1), 32).sum(axis=0)
        metrics = {
            "seen": seen * len(images),  # a mean over critic updates, weighted by images
            "updates": jnp.float32(1) / len(images),
            "critic": variables["params"]["c"],
            "noise": fakes[0, 0, 0, 0],
        }
        return variables["params"]["c"] * jnp.mean(images), (metrics, {})

    def generator_loss(variables, fakes, key):
        return jnp.mean(fakes), ({"num_fakes": jnp.float32(len(fakes))}, {})

    def evaluate(generator, critic, images, key):
        return {"pixel": images.astype(jnp.float32).reshape(-1)}

    def sample(variables, num_samples, key, labels=None):
        return jax.random.uniform(key, (num_samples, 1, 1, 1))

    def decode(variables, latents, labels=None):
        return jnp.zeros((len(latents), 1, 1, 1))

    functions = (init, generate, critic_loss, generator_loss, evaluate, sample, decode)
    return AdversarialModel(*functions, image_shape=(1, 1, 1), latent_size=1)


def counting(count):
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("count", [23, 24, 25, 16, 5])
def test_every_image_is_seen_in_an_epoch_of_full_steps(count, shared):
    learner = adversarial(
        witness(), optax.sgd(0.1), optax.sgd(0.1), 2, batch_size=4, share_fakes=shared
    )
    state, metrics = learner.epoch(
        learner.init(jax.random.key(0)), counting(count), jax.random.key(1)
    )
    num_steps = -(-count // 8)
    assert state.step == num_steps
    np.testing.assert_array_equal(metrics["num_images"], [8] * num_steps)
    np.testing.assert_array_equal(metrics["num_fakes"], [4] * num_steps)
    # `seen` is the mean over a step's two updates of four times the images of an update.
    seen = np.asarray(metrics["seen"]).sum(axis=0) / 2
    np.testing.assert_array_equal(seen[count:], 0)
    assert seen.sum() == 8 * num_steps
    least, rest = divmod(8 * num_steps, count)
    assert sorted(seen[:count]) == [least] * (count - rest) + [least + 1] * rest


def test_another_key_shuffles_otherwise():
    learner = adversarial(witness(), optax.sgd(0.1), optax.sgd(0.1), 2, batch_size=4)
    seen = [
        learner.epoch(learner.init(jax.random.key(0)), counting(24), jax.random.key(i))[1]
        for i in (1, 1, 2)
    ]
    np.testing.assert_array_equal(seen[0]["seen"], seen[1]["seen"])
    np.testing.assert_array_equal(seen[0]["noise"], seen[1]["noise"])
    assert not np.array_equal(seen[0]["seen"], seen[2]["seen"])
    assert len(np.unique(seen[0]["noise"])) == 3


@pytest.mark.parametrize("shared", [False, True])
def test_every_step_and_critic_update_has_its_own_noise(shared):
    # The generator stays as it is, so that what moves between the steps is the noise alone.
    learner = adversarial(
        witness(), optax.sgd(0.0), optax.sgd(0.1), 2, batch_size=4, share_fakes=shared
    )
    _, metrics = learner.epoch(learner.init(jax.random.key(0)), counting(24), jax.random.key(1))
    assert len(np.unique(metrics["noise"])) == 3
    # A mean of two equal noises would be one of the noises of single updates.
    single = adversarial(witness(), optax.sgd(0.0), optax.sgd(0.1), batch_size=4)
    _, of_single = single.step(single.init(jax.random.key(0)), counting(4), jax.random.key(5))
    double = adversarial(witness(), optax.sgd(0.0), optax.sgd(0.1), 2, batch_size=4)
    _, of_double = double.step(double.init(jax.random.key(0)), counting(8), jax.random.key(5))
    assert of_single["noise"] != of_double["noise"]


@pytest.fixture(scope="module")
def small() -> Learner:
    return systems.wgan_mnist(
        image_shape=SHAPE,
        generator_sizes=(6,),
        critic_sizes=(6,),
        latent_size=LATENTS,
        num_critic_steps=2,
        learning_rate=1e-2,
        weight_bound=0.05,
        ema_decay=0.2,  # which the schedule of the decay reaches in the third step
        batch_size=BATCH,
    )


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_an_epoch_in_stretches_is_the_same_epoch(small):
    images, key = pixels(42), jax.random.key(5)  # five steps and a quarter
    whole, metrics = small.epoch(small.init(jax.random.key(0)), images, key, start=0, stop=100)
    num_steps = len(metrics["num_images"])
    assert num_steps == 6
    compiled = small.epoch._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    state, parts = small.init(jax.random.key(0)), []
    for start in range(0, num_steps, 4):
        state, part = small.epoch(state, images, key, start=start, stop=start + 4)
        np.testing.assert_array_equal(
            part["num_images"] > 0, [start <= i < start + 4 for i in range(num_steps)]
        )
        parts.append(part)
    assert same(state, whole)
    assert same(jax.tree.map(lambda *x: sum(x), *parts), metrics)
    assert small.epoch._cache_size() == compiled  # pyright: ignore[reportFunctionMemberAccess]


def test_the_critic_is_inside_the_bound_after_every_step(small):
    state, metrics = small.init(jax.random.key(0)), {}
    for i in range(12):
        state, metrics = small.step(state, pixels(2 * BATCH, seed=i), jax.random.key(i))
        largest = max(float(jnp.max(jnp.abs(p))) for p in jax.tree.leaves(state.params["critic"]))
        assert largest <= 0.05 * (1 + 1e-6)
    assert 0 < metrics["weights_on_bound"] < 1
    largest = max(float(jnp.max(jnp.abs(p))) for p in jax.tree.leaves(state.params["generator"]))
    assert largest > 0.05


def test_the_average_follows_the_generator(small):
    state = small.init(jax.random.key(0))
    expected = jax.tree.map(np.array, state.variables("generator"))
    for t in range(5):
        state, _ = small.step(state, pixels(2 * BATCH, seed=t), jax.random.key(t))
        decay = min(0.2, (1 + t) / (10 + t))
        expected = jax.tree.map(
            lambda mean, value, decay=decay: decay * mean + (1 - decay) * np.asarray(value),
            expected,
            state.variables("generator"),
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.ema, expected
    )
    averaged = with_averaged_generator(state)
    latents = jax.random.normal(jax.random.key(9), (2, LATENTS))
    decoded = MLPGenerator((6,), SHAPE).apply(expected, latents, train=False)
    np.testing.assert_allclose(
        small.decode(averaged, latents), (np.asarray(decoded) + 1) / 2, rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(small.decode(state, latents), small.decode(averaged, latents))


def test_without_an_average_asking_for_it_is_a_user_error():
    learner = adversarial(witness(), optax.sgd(0.1), optax.sgd(0.1), batch_size=4)
    state = learner.init(jax.random.key(0))
    assert state.ema == {}
    with pytest.raises(UserError, match="expected a state with an averaged generator"):
        with_averaged_generator(state)


def test_evaluation_is_a_mean_over_all_images_and_changes_nothing(small):
    learner = adversarial(witness(), optax.sgd(0.1), optax.sgd(0.1), batch_size=4)
    state = learner.init(jax.random.key(0))
    metrics = learner.evaluate(state, counting(23), jax.random.key(1))
    assert metrics["pixel"] == 11
    state = small.init(jax.random.key(0))
    before = jax.tree.map(np.array, state)
    first = small.evaluate(state, pixels(10), jax.random.key(1))
    assert same(before, state)
    assert same(first, small.evaluate(state, pixels(10), jax.random.key(1)))
    assert small.evaluate(state, pixels(1), jax.random.key(1))["diversity"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size to be a whole number of at least 1, got 0"),
        (
            {"batch_size": 4, "num_critic_steps": 0},
            "num_critic_steps to be a whole number of at least 1",
        ),
        ({"batch_size": 4, "ema_decay": 1.0}, "ema_decay between 0 and 1, or none, got 1.0"),
        ({"batch_size": 4, "ema_decay": 0.0}, "ema_decay between 0 and 1, or none, got 0.0"),
        ({"batch_size": 4, "ema_decay": float("nan")}, "ema_decay between 0 and 1"),
    ],
)
def test_impossible_options_are_user_errors(options, message):
    with pytest.raises(UserError, match=message):
        adversarial(witness(), optax.sgd(0.1), optax.sgd(0.1), **options)


def test_too_many_or_too_few_images_are_user_errors():
    learner = adversarial(witness(), optax.sgd(0.1), optax.sgd(0.1), 2, batch_size=4)
    state = learner.init(jax.random.key(0))
    with pytest.raises(UserError, match=r"expected 1 to 8 images a step .* got 9: use epoch"):
        learner.step(state, counting(9), jax.random.key(0))
    with pytest.raises(UserError, match="expected at least one image, got"):
        learner.step(state, counting(0), jax.random.key(0))
    with pytest.raises(UserError, match="at least one batch of 4 images, got 3"):
        learner.epoch(state, counting(3), jax.random.key(0))


# --- diversity -----------------------------------------------------------------------------------


def test_mean_pairwise_distance():
    x = np.random.default_rng(0).uniform(size=(7, 3, 2, 1)).astype(np.float32)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    np.testing.assert_allclose(
        mean_pairwise_distance(jnp.asarray(x)), np.mean(distances), rtol=1e-5
    )
    assert mean_pairwise_distance(jnp.asarray(x[:1])) == 0


def test_a_collapsed_generator_has_no_diversity():
    rng = np.random.default_rng(0)
    data = jnp.asarray(rng.uniform(size=(64, 8, 8, 1)), jnp.float32)
    one = jnp.broadcast_to(data[:1], data.shape)
    assert relative_diversity(data, data) == 1
    assert relative_diversity(one, data) < 1e-2
    assert relative_diversity(0.5 * data, data) == pytest.approx(0.5, rel=1e-4)
    two = jnp.concatenate([one[:32], jnp.broadcast_to(data[1:2], (32, 8, 8, 1))])
    assert relative_diversity(two, data) == pytest.approx(0.5, abs=0.1)
    assert relative_diversity(data, one) == 1


# --- the systems over a long run -----------------------------------------------------------------

LONG = {
    "dcgan_mnist": {
        "image_shape": (25, 25, 1),
        "generator_features": (8, 6, 4, 4),
        "critic_features": (4, 6, 8),
        "latent_size": 8,
    },
    "dcgan_flowers": {"image_shape": (8, 8, 3), "features": 4, "latent_size": 8},
    "wgan_mnist": {"image_shape": SHAPE, "generator_sizes": (8, 16), "critic_sizes": (8,)},
    "wgan_gp_mnist": {"image_shape": SHAPE, "generator_sizes": (8, 16), "critic_sizes": (8,)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_two_thousand_steps_without_nan(name):
    learner = getattr(systems, name)(**LONG[name], batch_size=8, ema_decay=0.99)
    images_per_step = 8 * (5 if name.startswith("wgan") else 1)
    images = pixels(250 * images_per_step, shape=LONG[name]["image_shape"])
    state = learner.init(jax.random.key(0))
    for i in range(8):
        state, metrics = learner.epoch(state, images, jax.random.key(i))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    assert state.step == 2000
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_diversity_is_measured_on_images_from_all_over_the_set(monkeypatch):
    monkeypatch.setattr(adversarial_training, "SET_SIZE", 4)
    learner = systems.wgan_mnist(
        image_shape=SHAPE, generator_sizes=(6,), critic_sizes=(6,), latent_size=3, batch_size=4
    )
    images = pixels(20)
    images[:10] = 0  # sorted: the first ones are alike, which has no diversity to compare with
    state = learner.init(jax.random.key(0))
    assert learner.evaluate(state, images[:10], jax.random.key(1))["diversity"] == 1
    assert learner.evaluate(state, images, jax.random.key(1))["diversity"] < 0.9
