"""Saved samplers: the same pictures from a file, and from JAX alone; the command line."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import safetensors
from marks import slow_but

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs
from jaxgen import interop, learners, models, systems
from jaxgen.errors import UserError
from jaxgen.interop import __main__ as command
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder

pytestmark = pytest.mark.usefixtures("quick_compilation")
CVAE = {"hidden_sizes": (8,), "latent_size": 3, "image_shape": (4, 4, 1)}


def sizes_of(name):
    return CVAE if name == "cvae_mnist" else pairs.SMALL[name].jaxgen


def made(name):
    learner = getattr(systems, name)(**sizes_of(name))
    return learner, learner.init(jax.random.key(5))


@pytest.mark.parametrize("name", ["vae_batchnorm_mnist", "wgan_mnist", "cvae_mnist"])
def test_saved_and_loaded(name, tmp_path):
    learner, state = made(name)
    path = tmp_path / "sampler.safetensors"
    interop.save(path, name, state, **sizes_of(name))
    loaded_learner, loaded = interop.load(path)
    key = jax.random.key(1)
    np.testing.assert_array_equal(
        loaded_learner.sample(loaded, 4, key), learner.sample(state, 4, key)
    )
    assert jax.tree.structure(loaded) == jax.tree.structure(state)


def test_what_does_not_fit_is_refused(tmp_path):
    _, state = made("vae_mnist")
    path, sizes = tmp_path / "sampler.safetensors", sizes_of("vae_mnist")
    cases = [
        (path, "vae_mnist", {}, "with these hyperparameters: params/decoder/hidden/dense_0/bias"),
        (path, "vae_mnist", sizes | {"depth": 3}, "keyword arguments of vae_mnist, got depth"),
        (path, "vae", sizes, "got 'vae': choose"),
        (path, "vae_mnist", sizes | {"kl_schedule": lambda step: 1.0}, "written as JSON"),
        (tmp_path / "sampler.bin", "vae_mnist", sizes, "ends in .safetensors"),
    ]
    for target, name, options, words in cases:
        with pytest.raises(UserError) as error:
            interop.save(target, name, state, **options)
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"ends in \.zip"):
        interop.export(tmp_path / "sampler.bin", "vae_mnist", state, **sizes)
    assert list(tmp_path.iterdir()) == []
    interop.write(path, interop.to_torch("vae_mnist", state))
    with pytest.raises(UserError, match="PyTorch's keys"):
        interop.load(path)


def own():
    """A learner that is none of `systems`, and its state."""
    encoder, decoder = MLPEncoder((8,), 3), MLPDecoder((8,), (4, 4, 1))
    model = models.vae(encoder, decoder, bernoulli(), latent_size=3, image_shape=(4, 4, 1))
    learner = learners.minimize(model, optax.sgd(0.1, momentum=0.9), batch_size=4)
    return model, learner, learner.init(jax.random.key(5))


def test_learners_and_models_of_your_own(tmp_path):
    model, learner, state = own()
    key, path = jax.random.key(1), tmp_path / "own.safetensors"
    interop.save(path, learner, state, author="me", layers=[8, 8])
    found, loaded = interop.load(path, learner=learner)
    assert found is learner
    np.testing.assert_array_equal(learner.sample(loaded, 4, key), learner.sample(state, 4, key))
    assert int(loaded.step) == 0
    with pytest.raises(
        UserError, match=r"not one of jaxgen\.systems: pass it, .*learner="
    ) as error:
        interop.load(path)
    assert "\n" not in str(error.value)
    description = safetensors.safe_open(path, "numpy").metadata()["hyperparameters"]
    assert json.loads(description) == {"author": "me", "layers": [8, 8]}

    variables = model.init(jax.random.key(2))
    interop.save(path, model, variables)
    found, again = interop.load(path, learner=model)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_weights_of_another_learner_are_refused(tmp_path):
    _, learner, state = own()
    path = tmp_path / "sampler.safetensors"
    interop.save(path, learner, state)
    other, other_state = made("vae_mnist")
    with pytest.raises(UserError, match=r"params/decoder/hidden/dense_0/bias is expected to be"):
        interop.load(path, learner=other)
    with pytest.raises(UserError, match=r"expected the state of this learner: params/.*bias"):
        interop.save(path, learner, other_state)
    broken = state._replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
    interop.save(path, learner, broken)
    with pytest.raises(UserError, match=r"NaN or infinite values in params/.*: use weights"):
        interop.load(path, learner=learner)


# An exported sampler needs JAX and NumPy; this process refuses to import more.
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jaxgen", "flax", "optax", "orbax", "tyro"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
import json, zipfile
import jax, numpy as np

archive = zipfile.ZipFile(sys.argv[1])
about = json.loads(archive.read("about.json"))
programs = [jax.export.deserialize(bytearray(archive.read(n))) for n in ("sample", "decode")]
inputs = np.load(sys.argv[2])
labels = [inputs["labels"]] if about["labelled"] else []
images = programs[0].call(jax.random.key(1), *(labels or [np.zeros(6, np.float32)]))
decoded = programs[1].call(inputs["latents"], *labels)
few = programs[1].call(inputs["latents"][:2], *(each[:2] for each in labels))
np.savez(sys.argv[3], sampled=images, decoded=decoded, few=few)
assert not {"jaxgen", "flax"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    "name", slow_but({"cvae_mnist"}, ["vae_flowers", "dcgan_mnist", "cvae_mnist"])
)
def test_exported_samplers_run_with_jax_alone(name, tmp_path):
    learner, state = made(name)
    interop.export(tmp_path / "sampler.zip", name, state, **sizes_of(name))
    latents = np.random.default_rng(0).standard_normal((6, sizes_of(name)["latent_size"]))
    labels = np.arange(6, dtype=np.int32)
    given = {"labels": labels} if name == "cvae_mnist" else {}
    np.savez(tmp_path / "inputs.npz", latents=np.float32(latents), labels=labels)
    files = [str(tmp_path / file) for file in ("sampler.zip", "inputs.npz", "images.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *files], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    images = np.load(tmp_path / "images.npz")
    decoded = learner.decode(state, np.float32(latents), **given)
    sampled = learner.sample(state, 6, jax.random.key(1), **given)
    np.testing.assert_allclose(images["decoded"], decoded, atol=1e-6)
    np.testing.assert_allclose(images["few"], decoded[:2], atol=1e-6)
    np.testing.assert_allclose(images["sampled"], sampled, atol=1e-6)


def call(path, name, *arguments):
    archive = zipfile.ZipFile(path)
    return jax.export.deserialize(bytearray(archive.read(name))).call(*arguments)


def test_exported_programs_of_your_own_learner_and_model(tmp_path):
    model, learner, state = own()
    latents = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    interop.export(tmp_path / "own.zip", learner, state, author="me")
    about = json.loads(zipfile.ZipFile(tmp_path / "own.zip").read("about.json"))
    assert about == {
        "system": "",
        "hyperparameters": {"author": "me"},
        "latent_size": 3,
        "labelled": False,
    }
    decoded = call(tmp_path / "own.zip", "decode", latents)
    np.testing.assert_allclose(decoded, learner.decode(state, latents), atol=1e-6)
    variables = model.init(jax.random.key(2))
    interop.export(tmp_path / "model.zip", model, variables)
    key, places = jax.random.key(1), np.zeros(4, np.float32)
    sampled = call(tmp_path / "model.zip", "sample", key, places)
    np.testing.assert_allclose(sampled, model.sample(variables, 4, key), atol=1e-6)


def test_models_that_do_not_sample_are_not_exported(tmp_path):
    model, _, _ = own()
    mute = model._replace(sample=None)
    with pytest.raises(UserError, match="expected a model with `sample` and `decode`"):
        interop.export(tmp_path / "model.zip", mute, mute.init(jax.random.key(2)))
    assert list(tmp_path.iterdir()) == []


def test_command_line_there_and_back(tmp_path):
    _, state = made("wgan_mnist")
    dicts = interop.to_torch("wgan_mnist", state)
    sources = []
    for part, arrays in dicts.items():
        interop.write(tmp_path / f"{part}.safetensors", arrays)
        sources.append(f"{part}={tmp_path / part}.safetensors")
    sampler, back = str(tmp_path / "sampler.safetensors"), str(tmp_path / "back.safetensors")
    options = ["--hyperparameters", json.dumps(sizes_of("wgan_mnist"))]
    command.main(["from-torch", "wgan_mnist", ",".join(sources), sampler, *options])
    command.main(["to-torch", sampler, back])
    command.main(["export", sampler, str(tmp_path / "sampler.zip")])
    assert (tmp_path / "sampler.zip").is_file()
    found = interop.read(back)
    for part, arrays in dicts.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(found[f"{part}.{key}"], array)


def test_command_line_takes_a_run(tmp_path):
    from jaxgen.runs.checkpoints import Checkpoints

    learner, state = made("vae_mnist")
    config = {"system": "vae_mnist", "dataset": "mnist", "num_epochs": 1, "num_examples": None}
    config |= {"seed": 0} | sizes_of("vae_mnist")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="train it first"):
        command.main(["to-torch", str(tmp_path), str(tmp_path / "weights.safetensors")])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, state, {"epoch": 1})
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 1, "seconds": 0.5}\n')
    command.main(["to-torch", str(tmp_path), str(tmp_path / "weights.safetensors")])
    dicts = interop.read(tmp_path / "weights.safetensors")
    loaded = interop.load_torch("vae_mnist", learner.init(jax.random.key(0)), dicts)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, state.params)


def test_command_line_mistakes_are_one_line():
    run = [sys.executable, "-m", "jaxgen.interop"]
    root = Path(__file__).parents[1]
    done = subprocess.run([*run, "--help"], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("from-torch", "to-torch", "export"))
    done = subprocess.run(
        [*run, "to-torch", "absent.safetensors", "x.pt"], capture_output=True, text=True, cwd=root
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: expected a file at absent.safetensors, found none: check the path\n"
    )
