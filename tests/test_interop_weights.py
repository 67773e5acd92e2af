"""Weights to PyTorch's keys and back, and files of them, without PyTorch."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from states import state_of

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs
from jaxgen import interop, systems
from jaxgen.errors import UserError
from jaxgen.interop.flattening import flatten

pytestmark = pytest.mark.usefixtures("quick_compilation")


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", pairs.SMALL)
def test_round_trip_is_exact(name):
    state, other = state_of(name), state_of(name, seed=1)
    loaded = interop.load_torch(name, other, interop.to_torch(name, state))
    same((loaded.params, loaded.collections), (state.params, state.collections))
    same((loaded.step, loaded.optimizer_state), (other.step, other.optimizer_state))
    # One dict for all networks will do, and the function for its name.
    flat = flatten(interop.to_torch(name, state))
    same(interop.load_torch(getattr(systems, name), other, flat).params, state.params)


def test_layouts_by_hand():
    state = state_of("vae_flowers")
    dicts = interop.to_torch("vae_flowers", state)
    params = jax.tree.map(np.asarray, state.params)
    conv, deconv = params["encoder"]["conv_1"]["kernel"], params["decoder"]["conv_0"]["kernel"]
    assert dicts["encoder.conv2.weight"][5, 3, 0, 2] == conv[0, 2, 3, 5]  # [out, in, y, x]
    assert dicts["decoder.deconv1.weight"][7, 5, 0, 1] == deconv[0, 1, 5, 7]  # [in, out, y, x]
    # 8 channels on 2×2 pixels: value c·4 + y·2 + x there is (y·2 + x)·8 + c here.
    mean, dense = params["encoder"]["mean"]["kernel"], params["decoder"]["dense"]
    assert dicts["encoder.fcm.weight"][3, 6 * 4 + 2 + 1] == mean[(2 + 1) * 8 + 6, 3]
    assert dicts["decoder.fc.weight"][5 * 4 + 1, 2] == dense["kernel"][2, 1 * 8 + 5]
    assert dicts["decoder.fc.bias"][5 * 4 + 1] == dense["bias"][1 * 8 + 5]


def test_colour_images_in_dense_layers():
    learner = systems.vae_mnist(image_shape=(4, 2, 3), hidden_sizes=(5,), latent_size=2)
    state = learner.init(jax.random.key(0))
    dicts = interop.to_torch("vae_mnist", state, image_channels=3)
    first = np.asarray(state.params["encoder"]["hidden"]["dense_0"]["kernel"])
    last = np.asarray(state.params["decoder"]["output"]["bias"])
    # Pixel y=2, x=1 of channel 2: [C, H, W] there, [H, W, C] here.
    there, here = 2 * 8 + 2 * 2 + 1, (2 * 2 + 1) * 3 + 2
    assert dicts["fc1.weight"][4, there] == first[here, 4]
    assert dicts["fc5.bias"][there] == last[here]
    loaded = interop.load_torch("vae_mnist", state, dicts, image_channels=3)
    same(loaded, state)


def test_batchnorm_statistics_travel_and_counters_are_made():
    state = state_of("wgan_mnist")._replace(step=jax.numpy.int32(7))
    dicts = interop.to_torch("wgan_mnist", state)
    assert set(dicts) == {"generator", "critic"}
    stats = state.collections["generator"]["batch_stats"]["decoder"]["hidden"]["norm_1"]
    np.testing.assert_array_equal(dicts["generator"]["5.running_mean"], stats["mean"])
    np.testing.assert_array_equal(dicts["generator"]["5.running_var"], stats["var"])
    counter = dicts["generator"].pop("5.num_batches_tracked")
    assert (counter, counter.dtype, counter.shape) == (7, np.int64, ())
    interop.load_torch("wgan_mnist", state, dicts)  # as PyTorch before 0.4.1 wrote it


def test_arrays_keep_the_dtype_of_the_state():
    state = state_of("vae_mnist")
    dicts = {k: v.astype(np.float64) for k, v in interop.to_torch("vae_mnist", state).items()}
    loaded = interop.load_torch("vae_mnist", state, dicts)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}


def test_the_average_of_a_loaded_generator_is_the_generator():
    state = state_of("wgan_mnist", ema_decay=0.9)
    loaded = interop.load_torch("wgan_mnist", state, interop.to_torch("wgan_mnist", state))
    same(loaded.ema, state.variables("generator"))
    learner = pairs.learner("wgan_mnist", ema_decay=0.9)
    learner.step(loaded, np.zeros((2, 8, 8, 1), np.uint8), jax.random.key(0))  # nothing is shared


def test_everything_that_does_not_fit_is_told_at_once():
    state = state_of("dcgan_mnist")
    dicts = interop.to_torch("dcgan_mnist", state)
    del dicts["critic"]["layers.10.bias"]
    dicts["critic"]["layers.2.weight"] = np.zeros((3, 2, 4, 4))
    dicts["generator"]["layers.13.weight"] = np.zeros(5)
    with pytest.raises(UserError) as error:
        interop.load_torch("dcgan_mnist", state, dicts)
    text = str(error.value)
    assert "\n" not in text
    assert "3 of its entries" in text
    assert "critic.layers.10.bias [1] is missing" in text
    assert "critic.layers.2.weight is [3, 2, 4, 4], expected [6, 4, 4, 4]" in text
    assert "generator.layers.13.weight [5] is unexpected" in text


@pytest.mark.parametrize(
    ("system", "words"),
    [("cvae_mnist", "expected one of vae_mnist, "), (len, "got 'len'"), (3, "got '3'")],
)
def test_other_systems_have_no_keys(system, words):
    with pytest.raises(UserError, match=words):
        interop.load_torch(system, state_of("vae_mnist"), {})


def test_states_of_other_systems_are_refused():
    with pytest.raises(UserError, match=r"encoder\.hidden\.dense_1\.kernel"):
        interop.to_torch("vae_mnist", state_of("vae_binarized_mnist"))
    with pytest.raises(UserError, match="got dict"):
        interop.to_torch("vae_mnist", {})
    dicts = interop.to_torch("vae_mnist", state_of("vae_mnist")) | {"fc1.weight": "text"}
    with pytest.raises(UserError, match=r"fc1\.weight to be an array or tensor"):
        interop.load_torch("vae_mnist", state_of("vae_mnist"), dicts)


@pytest.mark.parametrize("name", ["vae_mnist", "wgan_mnist"])
def test_safetensors_round_trip(name, tmp_path):
    state = state_of(name)
    path = tmp_path / "weights.safetensors"
    interop.write(path, interop.to_torch(name, state))
    same(interop.load_torch(name, state_of(name, 1), interop.read(path)).params, state.params)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_files_that_cannot_be_read(tmp_path):
    def refusal(function, *args):
        with pytest.raises(UserError) as error:
            function(*args)
        assert "\n" not in str(error.value)
        return str(error.value)

    path = tmp_path / "weights.safetensors"
    assert "found none" in refusal(interop.read, path)
    assert "found none" in refusal(interop.read, tmp_path / "absent.pt")
    assert "found none" in refusal(interop.read, tmp_path)  # a folder
    interop.write(path, interop.to_torch("vae_mnist", state_of("vae_mnist")))
    path.write_bytes(path.read_bytes()[:-10])
    assert "damaged" in refusal(interop.read, path)
    path.write_bytes(b"")
    assert "damaged" in refusal(interop.read, path)
    assert "cannot write" in refusal(interop.write, tmp_path / "none" / "x.safetensors", {})
    assert "ends in" in refusal(interop.write, tmp_path / "x.onnx", {})


def test_pytorch_files_ask_for_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pt").write_bytes(b"anything")
    with pytest.raises(UserError, match="install jaxgen's extra `torch`"):
        interop.read(tmp_path / "weights.pt")
