"""State dicts under other names and prefixes: what is read, what is said, what is refused."""

import jax
import numpy as np
import pytest
from states import state_of, weights

from jaxgen import interop, systems
from jaxgen.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")


def loads_like(name, state_dicts):
    """Asserts that the weights are those of the plain state dict."""
    expected = state_of(name)
    loaded = interop.load_torch(name, state_of(name, seed=1), state_dicts)
    jax.tree.map(np.testing.assert_array_equal, dict(weights(loaded)), dict(weights(expected)))


def refusal(name, state_dicts):
    with pytest.raises(UserError) as error:
        interop.load_torch(name, state_of(name), state_dicts)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def plain():
    return interop.to_torch("vae_mnist", state_of("vae_mnist"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("place", [None, "state_dict", "model_state_dict", "model", "net"])
def test_prefixes_and_places(prefix, place, plain, caplog):
    prefixed = {prefix + key: value for key, value in plain.items()}
    optimizer = {"state": {0: {"exp_avg": np.zeros((16, 64))}}, "param_groups": [{"lr": 1e-3}]}
    given = prefixed if place is None else {place: prefixed, "epoch": 7, "optimizer": optimizer}
    loads_like("vae_mnist", given)
    assert len(caplog.messages) == 1
    start = prefix if place is None else f"{place}.{prefix}"
    assert caplog.messages[0].startswith(f"vae_mnist: read 10 arrays (keys after '{start}'")
    assert ("left out 1 arrays under optimizer" in caplog.messages[0]) == (place is not None)


def test_documented_keys_are_read_without_a_word(plain, caplog):
    loads_like("vae_mnist", plain)
    loads_like("wgan_mnist", interop.to_torch("wgan_mnist", state_of("wgan_mnist")))
    assert caplog.messages == []


@pytest.mark.parametrize(
    "names", [("netG", "netD"), ("generator", "discriminator"), ("G.module", "D.module")]
)
@pytest.mark.parametrize("name", ["dcgan_mnist", "wgan_mnist"])
def test_two_networks_under_other_names(name, names, caplog):
    dicts = interop.to_torch(name, state_of(name))
    loads_like(name, dict(zip(names, dicts.values(), strict=True)))
    assert f"critic after '{names[1]}.'" in caplog.text
    # Names do not matter: keys and shapes identify the networks.
    loads_like(name, dict(zip(reversed(names), dicts.values(), strict=True)))


def test_networks_with_documented_names_go_before_others(plain, caplog):
    dicts = interop.to_torch("wgan_mnist", state_of("wgan_mnist"))
    other = interop.to_torch("wgan_mnist", state_of("wgan_mnist", seed=2))["generator"]
    loads_like("wgan_mnist", {"averaged": other, **dicts})
    assert "left out 23 arrays under averaged" in caplog.text
    words = refusal("vae_mnist", {"model": plain, "ema": plain})
    assert "cannot tell which of 'model.', 'ema.' holds the weights of vae_mnist" in words


def test_what_is_left_out_is_named_to_the_first_word_that_differs(plain, caplog):
    nested = {"model": {"net": plain, "teacher": {"net": {"weight": plain["fc1.weight"]}}}}
    loads_like("vae_mnist", nested)
    assert "left out 1 arrays under model.teacher" in caplog.text


def test_the_vae_of_pytorch_examples(plain, caplog):
    names = {"fc2": "fc21", "fc3": "fc22", "fc4": "fc3", "fc5": "fc4"}
    given = {}
    for key, value in plain.items():
        layer, _, kind = key.partition(".")
        given[f"module.{names.get(layer, layer)}.{kind}"] = value
    loads_like("vae_mnist", given)
    assert caplog.messages == [
        "vae_mnist: read 10 arrays (keys after 'module.'; as fc1, fc21, fc22, fc3, fc4)"
    ]


def test_other_names_of_equal_sizes_are_shown_in_pairs(plain):
    names = {
        "fc1": "encoder.0",
        "fc2": "encoder.mean",
        "fc3": "encoder.var",
        "fc4": "decoder.0",
        "fc5": "decoder.2",
    }
    given = {
        f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": v for key, v in plain.items()
    }
    words = refusal("vae_mnist", given)
    assert "the sizes agree, the names of 5 layers differ" in words
    assert "encoder.0 may be fc1" in words
    assert "decoder.0 may be fc4" in words
    assert "sizes it was trained with" not in words
    renamed = {"fc6" + k.removeprefix("fc5") if "fc5" in k else k: v for k, v in plain.items()}
    words = refusal("vae_mnist", renamed)
    assert "the names of 1 layers differ (fc6 may be fc5); rename" in words


def test_other_sizes_are_not_taken_for_other_names(plain):
    words = refusal(
        "vae_mnist", {f"net.{k}": np.zeros((*np.shape(v), 1)) for k, v in plain.items()}
    )
    assert "10 of its entries do not fit" in words
    assert "sizes it was trained with" in words
    assert "sizes agree" not in words


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_by_name(value, plain):
    broken = {key: np.array(each, np.float64) for key, each in plain.items()}
    broken["fc3.weight"][1, 2] = value  # 1e300 overflows float32
    words = refusal("vae_mnist", {"model": broken})
    assert "NaN or infinite values in model.fc3.weight:" in words


def test_paths_expand(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    interop.write("~/WEIGHTS.SAFETENSORS", plain)
    assert (tmp_path / "WEIGHTS.SAFETENSORS").is_file()
    loads_like("vae_mnist", interop.read("~/WEIGHTS.SAFETENSORS"))
    sizes = {"hidden_sizes": (6,), "latent_size": 2, "image_shape": (4, 4, 1)}
    state = systems.vae_mnist(**sizes).init(jax.random.key(0))
    interop.export("~/sampler.zip", "vae_mnist", state, **sizes)
    assert (tmp_path / "sampler.zip").is_file()


def test_the_content_of_a_file_decides_how_it_is_read(plain, tmp_path):
    interop.write(tmp_path / "x.safetensors", plain)
    (tmp_path / "x.safetensors").rename(tmp_path / "model.bin")
    loads_like("vae_mnist", interop.read(tmp_path / "model.bin"))
