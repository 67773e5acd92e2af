"""Weights of the PyTorch twins in jaxgen and back, by PyTorch's own files and strict loading."""

import os
import pickle
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from states import state_of

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs, torch_twins  # noqa: E402
from jaxgen import interop  # noqa: E402
from jaxgen.errors import UserError  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick_compilation")


def twin_of(name):
    """A twin and its networks, the running statistics not as fresh ones are."""
    twin = getattr(torch_twins, name)
    torch.manual_seed(0)
    networks = twin.networks(**pairs.SMALL[name].twin)
    for key, buffer in networks.named_buffers():
        if "running" in key:
            buffer.uniform_(0.5, 1.5)
    return twin, networks


@pytest.mark.parametrize("name", pairs.SMALL)
def test_every_tensor_arrives_and_comes_back(name, tmp_path):
    twin, networks = twin_of(name)
    state = pairs.learner(name).init(jax.random.key(0))
    torch.save(torch_twins.state_dicts(twin, networks), tmp_path / "weights.pth")
    state = interop.load_torch(name, state, interop.read(tmp_path / "weights.pth"))
    interop.write(tmp_path / "back.pt", interop.to_torch(name, state))
    _, fresh = twin_of(name)
    for parameter in fresh.parameters():
        parameter.data.zero_()
    torch_twins.load_state_dicts(twin, fresh, interop.read(tmp_path / "back.pt"))
    for key, value in networks.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def nhwc(tensor):
    return tensor.detach().movedim(1, -1).numpy()


@pytest.mark.parametrize("name", pairs.SMALL)
def test_evaluation_gives_the_same_numbers(name):
    twin, networks = twin_of(name)
    networks.eval()
    learner, sizes = pairs.learner(name), pairs.SMALL[name]
    state = learner.init(jax.random.key(0))
    state = interop.load_torch(name, state, torch_twins.state_dicts(twin, networks))
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((5, sizes.latent_size)).astype(np.float32)
    decoded = learner.decode(state, latents)
    if name in ("dcgan_mnist", "wgan_mnist"):
        expected = nhwc(networks["generator"](torch.from_numpy(latents)))
        expected = (expected + 1) / 2 if name == "wgan_mnist" else expected
        np.testing.assert_allclose(decoded, expected, atol=1e-6)
        return
    images = rng.random((5, *sizes.image_shape)).astype(np.float32)
    given = twin.prepare(torch.from_numpy(np.moveaxis(images, -1, 1).copy()))
    noise = torch.from_numpy(latents)
    noise = noise.expand(3, -1, -1) if name == "vae_animals" else noise
    _, mean, log_var = networks(given, noise)
    for got, wanted in zip(learner.encode(state, images), (mean, log_var), strict=True):
        np.testing.assert_allclose(got, wanted.detach(), atol=2e-6)
    # Noise that makes the twin's latents the ones decoded here.
    noise = (noise - mean) / torch.exp(log_var / 2)
    expected = networks(given, noise)[0]
    expected = nhwc(expected[0] if name == "vae_animals" else expected)
    if "mnist" in name:
        expected = jax.nn.sigmoid(jnp.asarray(expected))
    np.testing.assert_allclose(decoded, expected, atol=2e-6)


def test_tensors_of_other_kinds():
    _, networks = twin_of("vae_mnist")
    state = pairs.learner("vae_mnist").init(jax.random.key(0))
    halved = {k: v.bfloat16() for k, v in networks.state_dict(keep_vars=True).items()}
    loaded = interop.load_torch("vae_mnist", state, halved)
    got = loaded.params["encoder"]["mean"]["kernel"]
    np.testing.assert_array_equal(got, halved["fc2.weight"].detach().float().numpy().T)


class Malicious:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_that_run_code_are_refused(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "weights.pt"
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        save({"fc1.weight": Malicious(trace)}, path)
        with pytest.raises(UserError) as error:
            interop.read(path)
        assert "refused" in str(error.value)
        assert "\n" not in str(error.value)
        assert not trace.exists()


def test_the_refusal_of_a_whole_model_says_how_to_save_its_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = twin_of("vae_mnist")[1]
    torch.save(network, "model.pt")
    with pytest.raises(UserError, match="refused to read") as error:
        interop.read("model.pt")
    exec(str(error.value).rpartition(": ")[2], {"torch": torch})
    for key, value in interop.read("weights.pt").items():
        assert torch.equal(value, network.state_dict()[key])


WRAPPED = {
    "model.bin": lambda d: d,
    "model.pth.tar": lambda d: {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in d.items()}},
    "last.ckpt": lambda d: {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model._orig_mod.{k}": v for k, v in d.items()},
        "optimizer_states": [{"state": {}, "param_groups": []}],
    },
    "MODEL.PT": lambda d: {"model_state_dict": d, "loss": 0.5},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_files_as_training_scripts_leave_them(name, tmp_path):
    network = twin_of("vae_mnist")[1]
    torch.save(WRAPPED[name](network.state_dict()), tmp_path / name)
    state = state_of("vae_mnist")
    loaded = interop.load_torch("vae_mnist", state, interop.read(tmp_path / name))
    expected = interop.load_torch("vae_mnist", state, network.state_dict())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)


def test_modules_in_place_of_state_dicts():
    networks = twin_of("wgan_mnist")[1]
    state = state_of("wgan_mnist")
    expected = interop.load_torch("wgan_mnist", state, networks.state_dict()).params
    parallel = {"G": torch.nn.DataParallel(networks["generator"]), "D": networks["critic"]}
    for given in (networks, dict(networks.items()), parallel):
        loaded = interop.load_torch("wgan_mnist", state, given).params
        jax.tree.map(np.testing.assert_array_equal, loaded, expected)


class ExamplesVAE(torch.nn.Module):
    """The network of pytorch/examples, vae/main.py."""

    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(64, 16)
        self.fc21 = torch.nn.Linear(16, 4)
        self.fc22 = torch.nn.Linear(16, 4)
        self.fc3 = torch.nn.Linear(4, 16)
        self.fc4 = torch.nn.Linear(16, 64)

    def encode(self, x):
        h1 = torch.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def decode(self, z):
        return torch.sigmoid(self.fc4(torch.relu(self.fc3(z))))


def test_the_vae_of_pytorch_examples_gives_the_same_numbers(caplog):
    torch.manual_seed(1)
    network = ExamplesVAE()
    learner = pairs.learner("vae_mnist")
    state = interop.load_torch("vae_mnist", state_of("vae_mnist"), network)
    assert "as fc1, fc21, fc22, fc3, fc4" in caplog.text
    rng = np.random.default_rng(0)
    images, latents = rng.random((5, 8, 8, 1), np.float32), rng.standard_normal((5, 4), np.float32)
    with torch.no_grad():
        encoded = network.encode(torch.from_numpy(images.reshape(5, 64)))
        decoded = network.decode(torch.from_numpy(latents)).numpy().reshape(5, 8, 8, 1)
    for got, wanted in zip(learner.encode(state, images), encoded, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(learner.decode(state, latents), decoded, atol=1e-6)


def test_damaged_and_strange_files(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(twin_of("vae_mnist")[1].state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    for content in (path.read_bytes(), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            interop.read(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(UserError, match="expected a state dict"):
        interop.read(path)
