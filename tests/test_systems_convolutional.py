"""The convolutional systems: sizes, likelihoods, refusals, and a run on a folder of pictures."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgen import runs, systems
from jaxgen.data.readers.records import read_records
from jaxgen.errors import UserError
from jaxgen.networks.scale import GAIN

pytestmark = pytest.mark.usefixtures("quick_compilation")
SYSTEMS = [systems.vae_flowers, systems.vae_animals]
SMALL: dict[str, Any] = {
    "resolution": 8,
    "channels": (3,),
    "latent_size": 2,
    "learning_rate": 1e-2,
    "batch_size": 8,
}


def size(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def initial(learner) -> Any:
    return jax.eval_shape(learner.init, jax.random.key(0))


# Weights + biases of every layer, in the order of systems.md.
FLOWERS = (
    (9 * 3 * 16 + 16)
    + (9 * 16 * 32 + 32)
    + (9 * 32 * 64 + 64)
    + 2 * (1024 * 10 + 10)
    + (10 * 1024 + 1024)
    + (4 * 64 * 32 + 32)
    + (4 * 32 * 16 + 16)
    + (4 * 16 * 3 + 3)
)
ANIMALS = (
    2 * 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    + (32 + 64 + 128 + 256 + 512)
    + (256 + 128 + 64 + 32 + 3)
    + 2 * (8192 * 128 + 128)
    + (128 * 8192 + 8192)
)


@pytest.mark.parametrize(
    ("system", "options", "count"),
    [
        (systems.vae_flowers, {}, FLOWERS),
        (systems.vae_animals, {}, ANIMALS),
        # 64 × 64: four times as many features on either side of the latents.
        (systems.vae_flowers, {"resolution": 64}, FLOWERS + 3 * (2 * 1024 * 10 + 10 * 1024 + 1024)),
        (systems.vae_flowers, {"likelihood": "gaussian_learned_scale"}, FLOWERS + 1),
        # Scale and shift for each bias that goes; the decoder's last layer keeps its own.
        (systems.vae_flowers, {"batch_norm": True}, FLOWERS + 16 + 32 + 64 + 32 + 16),
    ],
)
def test_number_of_parameters(system, options, count):
    assert size(initial(system(**options)).params) == count


def images(count=8, channels=3):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 8, 8, channels)).astype(np.uint8)


def test_the_published_loss_is_beta_kl_plus_the_whole_squared_error():
    learner = systems.vae_flowers(**SMALL)
    state = learner.init(jax.random.key(0))
    # Without encoder noise the reconstruction is the decoded mean.
    state = state._replace(params=jax.tree.map(np.asarray, state.params))
    state.params["encoder"]["log_var"]["bias"] = np.full(2, -60, np.float32)
    metrics = learner.evaluate(state, images(), jax.random.key(1))
    reconstructed = np.float64(learner.reconstruct(state, images()))
    error = np.sum((reconstructed - images() / 255) ** 2, axis=(1, 2, 3)).mean()
    mean, log_var = map(np.float64, learner.encode(state, images()))
    kl = np.sum(0.5 * (np.exp(log_var) + mean**2 - 1 - log_var), axis=1).mean()
    np.testing.assert_allclose(metrics["reconstruction"], error, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], error + 0.1 * kl, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned_scale", "bernoulli"])
def test_likelihoods_are_a_choice(likelihood):
    learner = systems.vae_flowers(**SMALL, likelihood=likelihood, scale=0.5)
    state = learner.init(jax.random.key(0))
    before = learner.evaluate(state, images(), jax.random.key(1))["loss"]
    for i in range(8):
        state, _ = learner.step(state, images(), jax.random.key(i))
    assert learner.evaluate(state, images(), jax.random.key(1))["loss"] < before
    if likelihood == "gaussian_learned_scale":  # errors are smaller than 1: so the scale falls
        assert -8 * 0.011 < state.params["decoder"]["log_scale"] < -8 * 0.009
        assert GAIN == 10


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 36}, "multiple of .*got 36x36"),
        ({"resolution": 0}, "resolution .*at least 1, got 0"),
        ({"latent_size": 0}, "latent_size .*at least 1, got 0"),
        ({"channels": ()}, "at least one layer"),
        ({"channels": (4, 0)}, r"channels .*at least 1, got \(4, 0\)"),
        ({"image_channels": 0}, "image_channels .*at least 1, got 0"),
        ({"likelihood": "poisson"}, "expected likelihood to be squared_error, .*got 'poisson'"),
        ({"likelihood": "gaussian", "scale": 0.0}, "scale .*above 0, got 0"),
        ({"num_samples": 0}, "num_samples .*at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning.rate .*above 0, got 0"),
        ({"batch_size": 0}, "batch_size .*at least 1, got 0"),
    ],
    ids=str,
)
def test_impossible_hyper_parameters_are_user_errors(system, options, message):
    with pytest.raises(UserError, match=message) as error:
        initial(system(**options))
    assert "\n" not in str(error.value)


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(24):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (10, 12 + i % 3, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[i % 2] / f"{i}.png")
    return folder


def start(photographs, workdir, *words):
    args = ["--dataset", f"folder:{photographs}", "--workdir", str(workdir)]
    args += "--resolution 4 --channels 3 --latent-size 2 --batch-size 8".split()
    return runs.start(systems.vae_flowers, num_epochs=2, args=[*args, *words])


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, of every events file in a folder."""
    from tensorboardX.proto import event_pb2

    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.*")):
        for record in read_records(file, "tfrecord"):
            event = event_pb2.Event.FromString(record)  # pyright: ignore[reportAttributeAccessIssue]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


@pytest.mark.slow
def test_a_run_on_photographs_writes_every_step(photographs, tmp_path):
    for num_epochs in (1, 2):  # the second resumes the first
        with start(photographs, tmp_path / "run", "--num-epochs", str(num_epochs)) as run:
            steps = []
            for _ in run.epochs():
                run.write_steps()
                steps = run.steps["kl"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["image_shape"] == [4, 4, 3]
    assert (config["resolution"], config["fit"]) == (4, "crop")
    num_steps = run.history[0]["step"]
    assert num_steps == -(-len(run.dataset.train.images) // 8)
    written = scalars(tmp_path / "run" / "tensorboard" / "steps")
    assert {"train/loss", "train/kl", "train/reconstruction"} <= set(written)
    assert sorted(written["train/kl"]) == list(range(1, 2 * num_steps + 1))
    last = [written["train/kl"][num_steps + 1 + i] for i in range(num_steps)]
    np.testing.assert_allclose(last, steps, rtol=1e-6)


def test_the_command_line_reaches_the_data(tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def load(*args, **options):
        raise Asked(*args, options)

    monkeypatch.setattr("jaxgen.data.load", load)
    unasked = {"stream": None, "fast_fingerprint": False}
    for words, expected in {
        "": {"resolution": 4, "fit": "crop", "seed": 0},
        "--fit squash --seed 3": {"resolution": 4, "fit": "squash", "seed": 3},
    }.items():
        with pytest.raises(Asked) as asked:
            start("pictures", tmp_path / "run", *words.split())
        assert asked.value.args == ("folder:pictures", None, expected | unasked)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resolution 7", "multiple of 2"),
        ("--resolution 0", "resolution"),
        ("--image-channels 1", "have 3 channels, not 1: pass --image-channels 3"),
        ("--scale 0 --likelihood gaussian", "scale"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(photographs, tmp_path, words, message):
    with pytest.raises(UserError, match=message) as error:
        start(photographs, tmp_path / "run", *words.split())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
