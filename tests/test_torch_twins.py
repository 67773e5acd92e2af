"""The PyTorch twins against systems.md's facts written out, NumPy formulas and hand-made steps."""

import copy
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).parents[1]))
from torch.func import functional_call, stack_module_state  # noqa: E402

from benchmarks import torch_twins as twins  # noqa: E402
from benchmarks.torch_twins import (  # noqa: E402
    dcgan_mnist,
    vae_animals,
    vae_batchnorm_mnist,
    vae_binarized_mnist,
    vae_flowers,
    vae_mnist,
    wgan_mnist,
)

BATCH = 6
# Sizes that keep the tests fast without changing any key or any kind of layer.
SMALL = {
    vae_mnist: {"hidden_size": 16, "latent_size": 4},
    vae_binarized_mnist: {"hidden_size": 16, "latent_size": 4},
    vae_batchnorm_mnist: {"hidden_sizes": (16, 12, 8), "latent_size": 4},
    dcgan_mnist: {
        "generator_channels": (8, 6, 4, 4),
        "critic_channels": (4, 6, 8),
        "latent_size": 4,
    },
    wgan_mnist: {"generator_sizes": (8, 12, 16), "critic_sizes": (8, 12), "latent_size": 4},
    vae_flowers: {"image_shape": (3, 16, 16), "channels": (4, 6, 8), "latent_size": 4},
    vae_animals: {
        "image_shape": (3, 32, 32),
        "channels": (2, 3, 4, 5, 6),
        "latent_size": 4,
        "num_samples": 3,
    },
}
IMAGES: dict[ModuleType, tuple[int, ...]] = {
    vae_flowers: (BATCH, 3, 16, 16),
    vae_animals: (BATCH, 3, 32, 32),
    wgan_mnist: (5, BATCH, 1, 28, 28),
}
NOISE = {vae_animals: (3, BATCH, 4), wgan_mnist: (6, BATCH, 4)}
MLP_VAES = [vae_mnist, vae_binarized_mnist, vae_batchnorm_mnist]
VAES = [*MLP_VAES, vae_flowers, vae_animals]
GANS = [dcgan_mnist, wgan_mnist]


def name(twin) -> str:
    return twin.__name__.rsplit(".", 1)[-1]


def small(twin, dtype=torch.float64):
    """Networks, prepared images and noise of one training step."""
    torch.manual_seed(0)
    networks = twin.networks(**SMALL[twin]).to(dtype)
    images = twin.prepare(torch.rand(IMAGES.get(twin, (BATCH, 1, 28, 28)), dtype=dtype))
    return networks, images, torch.randn(NOISE.get(twin, (BATCH, 4)), dtype=dtype)


# --- structure ----------------------------------------------------------------------------------


def wb(*layers):
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def bn(layer):
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{layer}.{kind}" for kind in kinds]


KEYS = {
    vae_mnist: wb("fc1", "fc2", "fc3", "fc4", "fc5"),
    vae_binarized_mnist: [
        *wb("Encoder.FC_enc1", "Encoder.FC_enc2", "Encoder.FC_mean", "Encoder.FC_std"),
        *wb("Decoder.FC_dec1", "Decoder.FC_dec2", "Decoder.FC_output"),
    ],
    vae_batchnorm_mnist: [
        *wb("encoder.encoder.1", "encoder.encoder.4", "encoder.encoder.7"),
        *bn("encoder.encoder.3"),
        *bn("encoder.encoder.6"),
        *bn("encoder.encoder.9"),
        *wb("encoder.encode_mu", "encoder.encode_sigma"),
        *wb("decoder.decoder.0", "decoder.decoder.3", "decoder.decoder.6", "decoder.decoder.9"),
        *bn("decoder.decoder.2"),
        *bn("decoder.decoder.5"),
        *bn("decoder.decoder.8"),
    ],
    dcgan_mnist: {
        "generator": [
            *(f"layers.{i}.weight" for i in (0, 3, 6, 9, 12)),
            *(key for i in (1, 4, 7, 10) for key in bn(f"layers.{i}")),
        ],
        "critic": [
            *(f"layers.{i}.weight" for i in (0, 2, 5)),
            *bn("layers.3"),
            *bn("layers.6"),
            *wb("layers.10"),
        ],
    },
    wgan_mnist: {
        "generator": [*wb("0", "3", "6", "9"), *bn("2"), *bn("5"), *bn("8")],
        "critic": wb("1", "3", "5"),
    },
    vae_flowers: wb(
        *("encoder.conv1", "encoder.conv2", "encoder.conv3", "encoder.fcm", "encoder.fcv"),
        *("decoder.fc", "decoder.deconv1", "decoder.deconv2", "decoder.deconv3"),
    ),
    vae_animals: {
        "encoder": wb(*(f"conv_layers.{i}" for i in (0, 2, 4, 6, 8)), "fc_mu", "fc_logvar"),
        "decoder": wb("fc", *(f"deconv_layers.{i}" for i in (0, 2, 4, 6, 8))),
    },
}


def dense(*sizes):
    return sum(a * b + b for a, b in pairwise(sizes))


PARAMETERS = {
    # two heads each, the second counted apart
    vae_mnist: dense(784, 400, 20) + dense(400, 20) + dense(20, 400, 784),
    vae_binarized_mnist: dense(784, 200, 200, 20) + dense(200, 20) + dense(20, 200, 200, 784),
    vae_batchnorm_mnist: dense(784, 512, 256, 128, 32)
    + dense(128, 32)
    + dense(32, 128, 256, 512, 784)
    + 2 * 2 * (512 + 256 + 128),
    dcgan_mnist: 25 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64)
    + 16 * 64
    + 2 * (512 + 256 + 128 + 64)
    + 16 * (64 + 64 * 128 + 128 * 256)
    + 2 * (128 + 256)
    + 257,
    wgan_mnist: dense(100, 64, 256, 512, 784) + 2 * (64 + 256 + 512) + dense(784, 64, 128, 1),
    vae_flowers: (9 * 3 * 16 + 16)
    + (9 * 16 * 32 + 32)
    + (9 * 32 * 64 + 64)
    + 2 * dense(1024, 10)
    + dense(10, 1024)
    + (4 * 64 * 32 + 32)
    + (4 * 32 * 16 + 16)
    + (4 * 16 * 3 + 3),
    vae_animals: 2 * 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    + (32 + 64 + 128 + 256 + 512)
    + (256 + 128 + 64 + 32 + 3)
    + 2 * dense(8192, 128)
    + dense(128, 8192),
}


@pytest.mark.parametrize("twin", KEYS, ids=name)
def test_keys_and_number_of_parameters(twin):
    networks = twin.networks()
    dicts = twins.state_dicts(twin, networks)
    wanted = KEYS[twin]
    if isinstance(wanted, dict):
        assert {part: set(d) for part, d in dicts.items()} == {k: set(v) for k, v in wanted.items()}
    else:
        assert set(dicts) == set(wanted)
    assert sum(p.numel() for p in networks.parameters()) == PARAMETERS[twin]


@pytest.mark.parametrize("twin", KEYS, ids=name)
def test_state_dicts_round_trip_and_are_strict(twin):
    networks, images, noise = small(twin)
    twin.train_step(networks, twin.make_optimizer(networks), images, noise)
    fresh = twin.networks(**SMALL[twin]).double()
    dicts = twins.state_dicts(twin, networks)
    twins.load_state_dicts(twin, fresh, dicts)
    for key, value in networks.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
    part = dicts[twin.PARTS[0]] if twin.PARTS else dicts
    part["surplus"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="surplus"):
        twins.load_state_dicts(twin, fresh, dicts)


def shapes_through(module, layer_types, *inputs):
    """Output shapes, without the batch, of the layers of these types."""
    shapes = []
    for layer in module.modules():
        if isinstance(layer, layer_types):
            layer.register_forward_hook(lambda m, i, out: shapes.append(tuple(out.shape[1:])))
    module(*inputs)
    return shapes


def test_shapes_through_the_convolutions():
    conv, deconv = torch.nn.Conv2d, torch.nn.ConvTranspose2d
    gan = dcgan_mnist.networks()
    assert shapes_through(gan["generator"], deconv, torch.randn(2, 100)) == [
        *[(512, 5, 5), (256, 9, 9), (128, 21, 21), (64, 25, 25), (1, 28, 28)]
    ]
    assert shapes_through(gan["critic"], conv, torch.rand(2, 1, 28, 28)) == [
        *[(64, 14, 14), (128, 7, 7), (256, 3, 3)]
    ]
    flowers = vae_flowers.networks()
    assert shapes_through(flowers, (conv, deconv), torch.rand(2, 3, 32, 32)) == [
        *[(16, 32, 32), (32, 16, 16), (64, 8, 8)],
        *[(32, 8, 8), (16, 16, 16), (3, 32, 32)],
    ]
    animals = vae_animals.networks(num_samples=2)
    assert shapes_through(animals, (conv, deconv), torch.rand(1, 3, 128, 128)) == [
        *[(32, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)],
        *[(256, 8, 8), (128, 16, 16), (64, 32, 32), (32, 64, 64), (3, 128, 128)],
    ]
    assert vae_animals.networks().num_samples == 10


def test_dcgan_initial_weights():
    torch.manual_seed(0)
    for key, value in dcgan_mnist.networks().named_parameters():
        if value.ndim == 4:  # the fewest, 1024 of them, have a standard error of 2%
            assert value.std().item() == pytest.approx(0.02, rel=0.1), key
        elif value.ndim == 1 and key.endswith("weight"):
            assert value.mean().item() == pytest.approx(1, abs=0.01), key
            assert value.std().item() == pytest.approx(0.02, rel=0.3), key
        elif "layers.10" not in key or "generator" in key:
            assert value.eq(0).all(), key


# --- forward passes and losses against NumPy ----------------------------------------------------


class Layers:
    """The networks in NumPy, from the values of a state dict."""

    def __init__(self, module):
        self.values = {k: v.detach().numpy() for k, v in module.state_dict().items()}

    def dense(self, x, key):
        return x @ self.values[f"{key}.weight"].T + self.values[f"{key}.bias"]

    def norm(self, x, key):
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return x * self.values[f"{key}.weight"] + self.values[f"{key}.bias"]


def relu(x, slope=0.0):
    return np.where(x > 0, x, slope * x)


def test_forward_vae_mnist():
    networks, images, noise = small(vae_mnist)
    n = Layers(networks)
    hidden = relu(n.dense(images.numpy().reshape(BATCH, 784), "fc1"))
    mean, log_var = n.dense(hidden, "fc2"), n.dense(hidden, "fc3")
    latents = mean + np.exp(log_var / 2) * noise.numpy()
    logits = n.dense(relu(n.dense(latents, "fc4")), "fc5").reshape(BATCH, 1, 28, 28)
    check(networks(images, noise), (logits, mean, log_var))


def test_forward_vae_binarized_mnist():
    networks, images, noise = small(vae_binarized_mnist)
    n = Layers(networks)
    hidden = images.numpy().reshape(BATCH, 784)
    for key in ("Encoder.FC_enc1", "Encoder.FC_enc2"):
        hidden = relu(n.dense(hidden, key), 0.2)
    mean, log_var = n.dense(hidden, "Encoder.FC_mean"), n.dense(hidden, "Encoder.FC_std")
    hidden = mean + np.exp(log_var / 2) * noise.numpy()
    for key in ("Decoder.FC_dec1", "Decoder.FC_dec2"):
        hidden = relu(n.dense(hidden, key), 0.2)
    logits = n.dense(hidden, "Decoder.FC_output").reshape(BATCH, 1, 28, 28)
    check(networks(images, noise), (logits, mean, log_var))


def test_forward_vae_batchnorm_mnist():
    networks, images, noise = small(vae_batchnorm_mnist)
    n = Layers(networks)
    hidden = images.numpy().reshape(BATCH, 784)
    for i in (1, 4, 7):
        hidden = relu(n.dense(hidden, f"encoder.encoder.{i}"))
        hidden = n.norm(hidden, f"encoder.encoder.{i + 2}")
    mean = n.dense(hidden, "encoder.encode_mu")
    log_var = n.dense(hidden, "encoder.encode_sigma")
    hidden = mean + np.exp(log_var / 2) * noise.numpy()
    for i in (0, 3, 6):
        hidden = relu(n.dense(hidden, f"decoder.decoder.{i}"))
        hidden = n.norm(hidden, f"decoder.decoder.{i + 2}")
    logits = n.dense(hidden, "decoder.decoder.9").reshape(BATCH, 1, 28, 28)
    check(networks(images, noise), (logits, mean, log_var))


def test_forward_wgan_mnist():
    networks, images, noise = small(wgan_mnist)
    n = Layers(networks)
    hidden = noise[0].numpy()
    for i in (0, 3, 6):
        hidden = n.norm(relu(n.dense(hidden, f"generator.{i}"), 0.01), f"generator.{i + 2}")
    fakes = np.tanh(n.dense(hidden, "generator.9")).reshape(BATCH, 1, 28, 28)
    hidden = images[0].numpy().reshape(BATCH, 784)
    hidden = relu(n.dense(relu(n.dense(hidden, "critic.1")), "critic.3"))
    outputs = networks["generator"](noise[0]), networks["critic"](images[0])
    check(outputs, (fakes, n.dense(hidden, "critic.5")[:, 0]))


def test_dcgan_activations():
    """The critic leaks 0.01; its global mean over space comes before the dense layer."""
    networks, images, _ = small(dcgan_mnist)
    layers: Any = networks.get_submodule("critic.layers")
    slopes = [m.negative_slope for m in layers if isinstance(m, torch.nn.LeakyReLU)]
    assert slopes == [0.01] * 3
    features = layers[:8](images).mean((2, 3)).detach().numpy()
    check([networks["critic"](images)], [Layers(layers).dense(features, "10")[:, 0]])
    assert isinstance(networks.get_submodule("generator.layers.13"), torch.nn.Sigmoid)


def check(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        # Float64 and sums of fewer than 1,000 terms of order 1: a few hundred roundings.
        np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-10, atol=1e-12)


def numpy_kl(mean, log_var):
    return (0.5 * (np.exp(log_var) + mean**2 - 1 - log_var)).sum(1).mean()


@pytest.mark.parametrize("twin", VAES, ids=name)
def test_vae_losses(twin):
    networks, images, noise = small(twin)
    outputs = networks(images, noise)
    decoded, mean, log_var = (o.detach().numpy() for o in outputs)
    x = images.numpy()
    if twin in MLP_VAES:
        p = 1 / (1 + np.exp(-decoded))
        error = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
    else:
        axes = (2, 3, 4) if twin is vae_animals else (1, 2, 3)
        error = ((decoded - x) ** 2).sum(axes).mean()
    kl = numpy_kl(mean, log_var)
    beta = 0.1 if twin is vae_flowers else 1.0
    loss, terms = twin.loss(outputs, images)
    check([loss, terms["reconstruction"], terms["kl"]], [error + beta * kl, error, kl])


def test_options_of_the_losses():
    networks, images, noise = small(vae_animals)
    outputs = networks(images, noise)
    decoded, mean, log_var = (o.detach().numpy() for o in outputs)
    error = ((decoded.mean(0) - images.numpy()) ** 2).sum((1, 2, 3)).mean()
    loss, _ = vae_animals.loss(outputs, images, average_images=True)
    check([loss], [error + numpy_kl(mean, log_var)])
    before = copy.deepcopy(networks)
    terms = vae_animals.train_step(
        networks, vae_animals.make_optimizer(networks), images, noise, average_images=True
    )
    check([terms["loss"]], [loss.detach()])
    assert changed(before, networks)

    networks, images, noise = small(vae_flowers)
    _, terms = vae_flowers.loss(networks(images, noise), images)
    optimizer = vae_flowers.make_optimizer(networks)
    got = vae_flowers.train_step(networks, optimizer, images, noise, beta=3.0)
    check([got["loss"]], [(terms["reconstruction"] + 3 * terms["kl"]).detach()])


def test_animals_samples_share_their_image():
    networks, images, noise = small(vae_animals)
    decoded, mean, log_var = networks(images, noise)
    one = networks.decoder(mean[4:5] + torch.exp(log_var[4:5] / 2) * noise[2, 4:5])
    check([decoded[2, 4]], [one[0].detach()])


@pytest.mark.parametrize("twin", GANS, ids=name)
def test_gan_losses(twin):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=7) * 3, rng.normal(size=7) * 3
    if twin is dcgan_mnist:
        critic = np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()
        generator = np.log1p(np.exp(-fake)).mean()
    else:
        critic, generator = fake.mean() - real.mean(), -fake.mean()
    scores = torch.from_numpy(real), torch.from_numpy(fake)
    check([twin.critic_loss(*scores), twin.generator_loss(scores[1])], [critic, generator])


def test_prepare():
    grey = torch.tensor([0.0, 0.49, 0.5, 1.0])
    assert vae_binarized_mnist.prepare(grey).tolist() == [0, 0, 1, 1]
    assert wgan_mnist.prepare(grey).tolist() == pytest.approx([-1, -0.02, 0, 1])
    for twin in (vae_mnist, vae_batchnorm_mnist, dcgan_mnist, vae_flowers, vae_animals):
        assert torch.equal(twin.prepare(grey), grey)


# --- steps --------------------------------------------------------------------------------------


def changed(before, after):
    """The names of the parameters that differ."""
    old = dict(before.named_parameters())
    return {key for key, value in after.named_parameters() if not torch.equal(old[key], value)}


def adam_start(gradient, learning_rate):
    """Adam's first step: its bias-corrected moments are the gradient and its square."""
    return -learning_rate * gradient / (gradient.abs() + 1e-8)


def rmsprop_start(gradient, learning_rate):
    """RMSprop's first step, epsilon outside the root of 0.01 gradient²."""
    return -learning_rate * gradient / (0.1 * gradient.abs() + 1e-8)


def expect_step(before, after, gradients, step):
    for (key, old), new, gradient in zip(
        before.named_parameters(), after.parameters(), gradients, strict=True
    ):
        wanted = (old + step(gradient)).detach()
        # Near-zero gradients make their ratio to epsilon sensitive to the last bits.
        torch.testing.assert_close(new.detach(), wanted, rtol=1e-9, atol=1e-10, msg=key)


RATES = {vae_flowers: 1e-4, dcgan_mnist: 2e-4, wgan_mnist: 5e-5}


@pytest.mark.parametrize("twin", VAES, ids=name)
def test_vae_step_is_adam_down_the_loss(twin):
    networks, images, noise = small(twin)
    before = copy.deepcopy(networks)
    terms = twin.train_step(networks, twin.make_optimizer(networks), images, noise)
    assert set(terms) == {"loss", "reconstruction", "kl"}
    assert not any(term.requires_grad for term in terms.values())
    loss, _ = twin.loss(copy.deepcopy(before)(images, noise), images)
    check([terms["loss"]], [loss.detach()])
    reference = copy.deepcopy(before)
    loss, _ = twin.loss(reference(images, noise), images)
    gradients = torch.autograd.grad(loss, list(reference.parameters()))
    rate = RATES.get(twin, 1e-3)
    expect_step(before, networks, gradients, lambda g: adam_start(g, rate))


@pytest.mark.parametrize("twin", KEYS, ids=name)
def test_optimizer_constants(twin):
    networks, _, _ = small(twin)
    optimizers = twin.make_optimizer(networks)
    optimizers = optimizers.values() if isinstance(optimizers, dict) else [optimizers]
    wanted = {"lr": RATES.get(twin, 1e-3), "eps": 1e-8, "weight_decay": 0}
    if twin is wgan_mnist:
        wanted |= {"alpha": 0.99, "momentum": 0, "centered": False}
    else:
        wanted |= {"betas": (0.5 if twin is dcgan_mnist else 0.9, 0.999), "amsgrad": False}
    for optimizer in optimizers:
        assert {key: optimizer.defaults[key] for key in wanted} == wanted
    fast = twin.make_optimizer(networks, learning_rate=0.25, capturable=True)
    for optimizer in fast.values() if isinstance(fast, dict) else [fast]:
        assert (optimizer.defaults["lr"], optimizer.defaults["capturable"]) == (0.25, True)


def test_dcgan_step_by_hand():
    """Critic first, on real and fake halves apart; the generator through the updated critic."""
    networks, images, noise = small(dcgan_mnist)
    before = copy.deepcopy(networks)
    terms = dcgan_mnist.train_step(networks, dcgan_mnist.make_optimizer(networks), images, noise)

    reference = copy.deepcopy(before)
    generator, critic = reference["generator"], reference["critic"]
    softplus = lambda x: torch.logaddexp(x, torch.zeros_like(x)).mean()  # noqa: E731
    fakes = generator(noise)
    critic_loss = softplus(-critic(images)) + softplus(critic(fakes))
    gradients = torch.autograd.grad(critic_loss, list(critic.parameters()), retain_graph=True)
    expect_step(before["critic"], networks["critic"], gradients, lambda g: adam_start(g, 2e-4))

    with torch.no_grad():
        for parameter, new in zip(
            critic.parameters(), networks["critic"].parameters(), strict=True
        ):
            parameter.copy_(new)
    generator_loss = softplus(-critic(generator(noise)))
    gradients = torch.autograd.grad(generator_loss, list(generator.parameters()))
    expect_step(
        before["generator"], networks["generator"], gradients, lambda g: adam_start(g, 2e-4)
    )
    check(
        [terms["critic_loss"], terms["generator_loss"]],
        [critic_loss.detach(), generator_loss.detach()],
    )
    # The reference made the same passes of the critic in the same order, one more of the generator.
    for key, value in reference["critic"].named_buffers():
        torch.testing.assert_close(networks["critic"].state_dict()[key], value)
    assert networks.state_dict()["critic.layers.3.num_batches_tracked"] == 3
    assert networks.state_dict()["generator.layers.1.num_batches_tracked"] == 1
    assert all(p.requires_grad for p in networks.parameters())


def test_wgan_critic_step_by_hand():
    networks, images, noise = small(wgan_mnist)
    before = copy.deepcopy(networks)
    optimizer = wgan_mnist.make_optimizer(networks)
    loss = wgan_mnist.critic_step(networks, optimizer, images[0], noise[0], clip=0.05)
    assert all(key.startswith("critic") for key in changed(before, networks))
    # The generator's parameters rest, its running statistics move.
    assert networks.state_dict()["generator.2.num_batches_tracked"] == 1
    assert networks.state_dict()["generator.2.running_mean"].ne(0).any()

    reference = copy.deepcopy(before)
    critic = reference["critic"]
    wanted = critic(reference["generator"](noise[0])).mean() - critic(images[0]).mean()
    check([loss], [wanted.detach()])
    gradients = torch.autograd.grad(wanted, list(critic.parameters()))
    for old, new, gradient in zip(
        before["critic"].parameters(), networks["critic"].parameters(), gradients, strict=True
    ):
        stepped = (old + rmsprop_start(gradient, 5e-5)).detach()
        torch.testing.assert_close(new.detach(), stepped.clamp(-0.05, 0.05), rtol=1e-9, atol=1e-10)


def test_wgan_generator_step_by_hand():
    networks, _, noise = small(wgan_mnist)
    before = copy.deepcopy(networks)
    wgan_mnist.generator_step(networks, wgan_mnist.make_optimizer(networks), noise[0])
    assert all(key.startswith("generator") for key in changed(before, networks))
    reference = copy.deepcopy(before)
    loss = -reference["critic"](reference["generator"](noise[0])).mean()
    gradients = torch.autograd.grad(loss, list(reference["generator"].parameters()))
    expect_step(
        before["generator"], networks["generator"], gradients, lambda g: rmsprop_start(g, 5e-5)
    )
    assert all(p.requires_grad for p in networks.parameters())


def test_wgan_step_is_five_critic_steps_then_one_of_the_generator():
    networks, images, noise = small(wgan_mnist)
    reference = copy.deepcopy(networks)
    terms = wgan_mnist.train_step(networks, wgan_mnist.make_optimizer(networks), images, noise)
    optimizer = wgan_mnist.make_optimizer(reference)
    losses = []
    for i in range(5):
        losses.append(wgan_mnist.critic_step(reference, optimizer, images[i], noise[i]).item())
        assert max(p.abs().max() for p in reference["critic"].parameters()) <= 0.01
    loss = wgan_mnist.generator_step(reference, optimizer, noise[5])
    check([terms["critic_loss"], terms["generator_loss"]], [np.mean(losses), loss])
    for key, value in reference.state_dict().items():
        assert torch.equal(networks.state_dict()[key], value), key
    # Clipped, and by as much as 0.01: initial weights reach far beyond it.
    assert max(p.abs().max() for p in networks["critic"].parameters()) == 0.01
    assert networks.state_dict()["generator.2.num_batches_tracked"] == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("twin", KEYS, ids=name)
def test_draws_its_own_noise_in_the_networks_dtype(twin, dtype):
    networks, images, _ = small(twin, dtype)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        start = copy.deepcopy(networks)
        terms = twin.train_step(start, twin.make_optimizer(start), images)
        assert all(term.dtype == dtype and term.isfinite() for term in terms.values())
        losses.append(next(iter(terms.values())).item())
    assert losses[0] == losses[1] != losses[2]
    if twin in VAES:
        # Drawn noise is standard normal: the decoder's input is, where mean = log_var = 0.
        torch.manual_seed(2)
        drawn = twin.sample_latents(*torch.zeros(2, 4000, 2, dtype=dtype))
        assert drawn.dtype == dtype
        assert abs(drawn.mean()) < 0.05
        assert drawn.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("twin", VAES, ids=name)
def test_loss_falls(twin):
    networks, images, noise = small(twin, torch.float32)
    images = images**4  # darker: the least squared error of uniform pixels is that of a grey image
    optimizer = twin.make_optimizer(networks, learning_rate=1e-2)
    losses = [twin.train_step(networks, optimizer, images, noise)["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("twin", GANS, ids=name)
def test_critic_loss_falls(twin):
    networks, images, noise = small(twin, torch.float32)
    optimizer = twin.make_optimizer(networks, learning_rate=1e-3)
    terms = [twin.train_step(networks, optimizer, images, noise) for _ in range(15)]
    losses = [t["critic_loss"].item() for t in terms]
    # Clipping makes the first WGAN critic loss not comparable to the later ones.
    assert losses[-1] < losses[1] - 1e-4


# --- many seeds at once, and the compiler -------------------------------------------------------


@pytest.mark.parametrize("twin", MLP_VAES, ids=name)
def test_vmap_over_seeds_equals_runs_in_turn(twin):
    _, images, noise = small(twin)
    population = [twin.networks(**SMALL[twin]).double() for _ in range(3)]
    runs = copy.deepcopy(population)
    noise = torch.stack([noise, 2 * noise, -noise])
    parameters, buffers = stack_module_state(population)
    skeleton = copy.deepcopy(population[0])

    def loss(parameters, buffers, noise):
        outputs = functional_call(skeleton, (parameters, buffers), (images, noise))
        return twin.loss(outputs, images)[0]

    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3)
    losses, terms = torch.zeros(3), {}
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        losses = torch.vmap(loss)(parameters, buffers, noise)
        losses.sum().backward()
        optimizer.step()

    for i, run in enumerate(runs):
        optimizer = twin.make_optimizer(run)
        for _ in range(3):
            terms = twin.train_step(run, optimizer, images, noise[i])
        check([losses[i]], [terms["loss"]])
        for key, value in run.state_dict().items():
            stacked = parameters[key] if key in parameters else buffers[key]
            # Adam divides by gradients that are rounding noise under BatchNorm.
            torch.testing.assert_close(stacked[i].detach(), value, rtol=1e-6, atol=1e-7)


def test_vmap_of_the_wgan():
    _, images, noise = small(wgan_mnist)
    population = [wgan_mnist.networks(**SMALL[wgan_mnist]).double() for _ in range(3)]
    parameters, buffers = stack_module_state(population)
    skeleton = copy.deepcopy(population[0])

    def split(tree, part):
        return {k.removeprefix(f"{part}."): v for k, v in tree.items() if k.startswith(part)}

    def loss(parameters, buffers, noise):
        variables = split(parameters, "generator"), split(buffers, "generator")
        fakes = functional_call(skeleton["generator"], variables, (noise,))
        critic = split(parameters, "critic")
        real_scores = functional_call(skeleton["critic"], critic, (images[0],))
        return wgan_mnist.critic_loss(
            real_scores, functional_call(skeleton["critic"], critic, (fakes,))
        )

    losses = torch.vmap(loss)(parameters, buffers, noise[:3])
    for i, networks in enumerate(population):
        optimizer = wgan_mnist.make_optimizer(networks)
        check([losses[i]], [wgan_mnist.critic_step(networks, optimizer, images[0], noise[i])])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
@pytest.mark.parametrize("twin", VAES, ids=name)
def test_loss_is_one_graph(twin):
    """torch.compile sees forward pass and loss without a break."""
    networks, images, noise = small(twin, torch.float32)
    compute = lambda images, noise: twin.loss(networks(images, noise), images)[0]  # noqa: E731
    compiled = torch.compile(compute, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images, noise), compute(images, noise))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # the compiler's
@pytest.mark.parametrize("twin", GANS, ids=name)
def test_gan_step_with_each_network_compiled(twin):
    networks, images, noise = small(twin)
    reference = copy.deepcopy(networks)
    for part in twin.PARTS:
        networks.get_submodule(part).compile(backend="aot_eager", fullgraph=True)
    optimizers = twin.make_optimizer(networks), twin.make_optimizer(reference)
    for _ in range(2):
        got = twin.train_step(networks, optimizers[0], images, noise)
        wanted = twin.train_step(reference, optimizers[1], images, noise)
        check(got.values(), [value.numpy() for value in wanted.values()])
    assert twins.state_dicts(twin, networks)["critic"].keys() == set(KEYS[twin]["critic"])
