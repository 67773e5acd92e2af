"""The estimators on models of this project: agreement with each other and with PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import data, evaluation, interop, learners, models, systems
from jaxgen.errors import UserError
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

KEY = jax.random.key(0)
SHAPE = (6, 6, 1)
SMALL = {"image_shape": SHAPE, "hidden_sizes": (16,), "latent_size": 3, "batch_size": 50}


def bars(num_images=500, seed=0):
    """Binary images of one row and one column each, with a little noise."""
    rng = np.random.default_rng(seed)
    images = np.zeros((num_images, *SHAPE), np.uint8)
    numbers = np.arange(num_images)
    images[numbers, rng.integers(0, 6, num_images)] = 255
    images[numbers, :, rng.integers(0, 6, num_images)] = 255
    return np.where(rng.random(images.shape) < 0.03, 255 - images, images)


def trained(learner, images, num_epochs=30, **labels):
    state = learner.init(jax.random.key(1))
    for i in range(num_epochs):
        state, _ = learner.epoch(state, images, jax.random.fold_in(KEY, i), **labels)
    return state


@pytest.fixture(scope="module")
def small():
    """A VAE of binary pixels, trained."""
    learner = systems.vae_mnist(**SMALL, binarization="threshold", learning_rate=5e-3)
    return learner, trained(learner, bars())


def test_importance_sampling_is_the_mean_of_the_learners_weights(small):
    learner, state = small
    images = bars(20, seed=2)
    estimate = evaluation.importance_sampling(learner, state, images, KEY, 4000)
    weights = np.asarray(learner.log_weights(state, images, jax.random.key(9), 4000), np.float64)
    again = np.log(np.mean(np.exp(weights), axis=0))
    shares = np.exp(weights) / np.exp(weights).sum(axis=0)
    variance = (shares**2).sum(axis=0) + 1 / estimate.effective_sample_size - 2 / 4000
    assert (np.abs(again - estimate.log_likelihood) < 4 * np.sqrt(variance)).all()
    np.testing.assert_allclose(estimate.elbo.mean(), weights.mean(), atol=0.05)


@pytest.mark.slow
def test_annealing_lies_between_the_bounds_of_importance_sampling(small):
    learner, state = small
    images = bars(20, seed=2)
    found = evaluation.annealed_importance_sampling(
        learner, state, images, KEY, num_chains=8, num_temperatures=300, num_leapfrog=5
    )
    bounds = evaluation.importance_bounds(learner, state, images, KEY, (1, 5000)).mean(axis=1)
    assert bounds[0] < found.lower.mean() < bounds[1] + 0.15


@pytest.mark.slow
def test_bidirectional_bounds_close_to_half_a_nat(small):
    learner, state = small
    found = evaluation.bidirectional(
        learner, state, 40, KEY, num_chains=8, num_temperatures=300, num_leapfrog=5
    )
    assert set(np.unique(found.images)) <= {0, 1}
    gap = found.upper.mean() - found.lower.mean()
    assert -0.1 < gap < 0.5
    # The encoder's estimate on the same images lies between, or is as tight as the lower one.
    estimate = evaluation.log_likelihood(learner, state, found.images, KEY, 3000)
    assert found.lower.mean() - 0.3 < estimate.mean() < found.upper.mean() + 0.1


@pytest.mark.slow
def test_two_layers_and_labels():
    images, labels = bars(60), np.arange(60) % 4
    two = systems.iwae_mnist(
        image_shape=SHAPE,
        stochastic_layers=2,
        hidden_sizes=(8,),
        latent_size=2,
        lower_latent_size=3,
        upper_hidden_sizes=(8,),
    )
    state = two.init(KEY)
    bounds = evaluation.importance_bounds(two, state, images, KEY, (1, 10, 1000))
    assert (np.diff(bounds, axis=0) >= -1e-4).all()
    with pytest.raises(UserError, match="one layer of latents"):
        evaluation.rate_distortion(two, state, images, KEY)
    conditional = systems.cvae_mnist(
        image_shape=SHAPE, hidden_sizes=(8,), latent_size=2, num_classes=4, binarization="threshold"
    )
    state = conditional.init(KEY)
    first = evaluation.log_likelihood(conditional, state, images, KEY, 50, labels=labels)
    other = evaluation.log_likelihood(conditional, state, images, KEY, 50, labels=(labels + 1) % 4)
    assert np.abs(first - other).max() > 1e-4
    terms = evaluation.rate_distortion(conditional, state, images, KEY, labels=labels)
    assert terms.rate > 0


@pytest.mark.parametrize(
    ("system", "options", "phrase"),
    [
        ("vae_mnist", {}, "grey pixels"),
        ("vae_flowers", {"resolution": 8, "channels": (4,)}, "squared error"),
        ("autoencoder_mnist", {}, "got one without"),
        ("wgan_mnist", {}, "got one without"),
    ],
)
def test_systems_without_a_log_likelihood_are_refused_by_name(system, options, phrase):
    learner = getattr(systems, system)(**options)
    images = np.zeros((2, *learner.image_shape), np.uint8)
    with pytest.raises(UserError, match=phrase):
        evaluation.log_likelihood(learner, None, images, KEY)


def test_a_model_of_ones_own():
    model = models.vae(
        MLPEncoder((8,), 2, jax.nn.relu),
        MLPDecoder((8,), SHAPE, jax.nn.relu),
        bernoulli(),
        image_shape=SHAPE,
        binarization="dynamic",
    )
    learner = learners.minimize(model, optax.adam(1e-3), batch_size=10)
    state, images = learner.init(KEY), bars(12)
    grey = (images // 2).astype(np.uint8)
    found = evaluation.log_likelihood(learner, state, grey, KEY, 100)
    assert found.shape == (12,)
    # Near log 2 for each of 36 pixels before training.
    np.testing.assert_allclose(found, -36 * np.log(2), atol=6)
    again = evaluation.log_likelihood(learner, state, grey[:5], KEY, 100)
    np.testing.assert_allclose(again, found[:5], atol=1e-4)  # the same binarization, too


@pytest.mark.slow
def test_an_independent_estimator_in_pytorch_agrees(real_data):
    torch = pytest.importorskip("torch")
    dataset = data.load("mnist", real_data / "tfds")
    learner = systems.vae_binarized_mnist()
    state = trained(learner, jnp.asarray(dataset.train.images), num_epochs=2)
    images = dataset.test.images[:200]
    ours = evaluation.log_likelihood(learner, state, images, KEY, 2000)

    weights = interop.to_torch("vae_binarized_mnist", state)
    flat = {
        f"{prefix}.{name}" if isinstance(value, dict) else prefix: tensor
        for prefix, value in weights.items()
        for name, tensor in (value.items() if isinstance(value, dict) else [("", value)])
    }
    tensors = {name: torch.tensor(np.array(value)) for name, value in flat.items()}

    def layer(name, x):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def leaky(x):
        return torch.nn.functional.leaky_relu(x, 0.2)

    torch.manual_seed(0)
    theirs = []
    for image in images:
        x = torch.as_tensor((image.reshape(1, -1) >= 127.5).astype(np.float32))
        hidden = leaky(layer("Encoder.FC_enc2", leaky(layer("Encoder.FC_enc1", x))))
        mean, log_var = layer("Encoder.FC_mean", hidden), layer("Encoder.FC_std", hidden)
        q = torch.distributions.Normal(mean, torch.exp(log_var / 2))
        z = q.sample((2000,))[:, 0]
        hidden = leaky(layer("Decoder.FC_dec2", leaky(layer("Decoder.FC_dec1", z))))
        logits = layer("Decoder.FC_output", hidden)
        log_p = torch.distributions.Bernoulli(logits=logits).log_prob(x.expand(2000, -1)).sum(1)
        log_p = log_p + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        log_w = log_p - q.log_prob(z).sum(1)
        theirs.append(float(torch.logsumexp(log_w, 0)) - np.log(2000))
    assert abs(np.mean(theirs) - ours.mean()) < 0.1
