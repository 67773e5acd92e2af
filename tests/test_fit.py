"""`runs.fit` and `runs.load`: the loop from Python, and what a run has learned."""

import json
import shutil
import sys
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen import data, interop, runs, systems
from jaxgen.errors import UserError
from jaxgen.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("shared_systems")

SIZES: dict[str, Any] = {
    "image_shape": (8, 8, 1),
    "hidden_sizes": (6,),
    "latent_size": 2,
    "batch_size": 16,
}
WIDE: dict[str, Any] = SIZES | {"image_shape": (9, 9, 1)}
NARROW: dict[str, Any] = SIZES | {"hidden_sizes": (5,)}


@pytest.fixture(scope="module")
def dataset(idx_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
        return data.load(f"idx:{idx_folder}")


@pytest.fixture(scope="module")
def learner():
    return systems.vae_mnist(**SIZES)


@pytest.fixture(scope="module")
def fit(learner, dataset):
    """Fits the small VAE; one learner for all, so that its programs are compiled once."""

    def fit(workdir, num_epochs=2, **options: Any):
        given: dict[str, Any] = {"pictures": False} | options
        return runs.fit(learner, dataset, num_epochs=num_epochs, workdir=workdir, **given)

    return fit


@pytest.fixture(scope="module")
def finished(fit, tmp_path_factory):
    """A run of two epochs that knows its system."""
    folder = tmp_path_factory.mktemp("fit") / "finished"
    return fit(folder, system="vae_mnist", hyperparameters=SIZES)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def test_fit_is_the_loop_of_the_scripts(finished, idx_folder, tmp_path):
    words = "--hidden-sizes 6 --latent-size 2 --batch-size 16 --no-pictures"
    args = f"--dataset idx:{idx_folder} --workdir {tmp_path / 'run'} {words}".split()
    with runs.start(systems.vae_mnist, num_epochs=2, args=args) as run:
        for _ in run.epochs():
            pass
    assert_equal(run.state, finished.state)
    assert without_seconds(run.history) == without_seconds(finished.history)
    assert not (tmp_path / "run" / "images").exists()


def test_fit_reads_no_command_line_and_returns_what_it_did(fit, tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(sys, "argv", ["kernel.py", "-f", "connection.json"])
    run = fit(tmp_path / "run", num_epochs=1)
    assert run.workdir == tmp_path / "run"
    assert [record["epoch"] for record in run.history] == [1]
    assert run.dataset is dataset
    assert json.loads((run.workdir / "summary.json").read_text())["epoch"] == 1
    assert run.learner.sample(run.state, 3, jax.random.key(0)).shape == (3, 8, 8, 1)


def test_fit_resumes_bit_for_bit(fit, finished, tmp_path):
    fit(tmp_path / "run", num_epochs=1)
    resumed = fit(tmp_path / "run", num_epochs=2)
    assert_equal(resumed.state, finished.state)
    assert without_seconds(resumed.history) == without_seconds(finished.history)


def test_on_epoch_sees_each_epoch_and_may_stop_the_run(fit, finished, tmp_path):
    seen = []

    def on_epoch(epoch, state, metrics):
        seen.append((epoch, int(state.step), metrics["epoch"]))
        return epoch == 2

    run = fit(tmp_path / "run", num_epochs=9, on_epoch=on_epoch)
    assert seen == [(1, 3, 1), (2, 6, 2)]
    assert_equal(run.state, finished.state)
    assert json.loads((run.workdir / "summary.json").read_text())["epoch"] == 2
    assert_equal(runs.load(run.workdir, learner=run.learner).state, run.state)


def test_config_is_written_once_on_a_fresh_run(fit, tmp_path, monkeypatch):
    written = []
    write = Workdir._write_json
    monkeypatch.setattr(
        Workdir,
        "_write_json",
        lambda self, name, value: (written.append(name), write(self, name, value)),
    )
    fit(tmp_path / "run", num_epochs=1)
    assert written == ["config.json", "summary.json"]


def test_standard_pictures_follow_from_what_the_learner_can_do(learner, dataset, tmp_path):
    run = runs.fit(learner, dataset, num_epochs=1, workdir=tmp_path / "vae")
    pictures = {path.name for path in (run.workdir / "images").iterdir()}
    expected = {"samples-001.png", "reconstructions-001.png", "elbo.png", "latent-kl.png"}
    assert pictures >= expected


def test_another_configuration_is_refused_by_name(fit, finished):
    for options, message in (
        ({"hyperparameters": SIZES | {"beta": 2.0}}, r"beta None there, 2\.0 here"),
        ({"hyperparameters": SIZES | {"latent_size": 3}}, "latent_size 2 there, 3 here"),
        ({"hyperparameters": SIZES, "seed": 1}, "seed 0 there, 1 here"),
        ({"hyperparameters": SIZES, "num_examples": 20}, "num_examples 40 there, 20 here"),
    ):
        with pytest.raises(UserError, match=message):
            fit(finished.workdir, system="vae_mnist", **options)


def test_what_does_not_fit_together_is_told_in_one_line(fit, learner, dataset, tmp_path):
    other = systems.vae_mnist(**WIDE)
    with pytest.raises(UserError, match=r"are \(8, 8, 1\), the learner takes \(9, 9, 1\)"):
        runs.fit(other, dataset, num_epochs=1, workdir=tmp_path / "run")
    unlabelled = dataset._replace(
        splits={name: split._replace(labels=None) for name, split in dataset.splits.items()}
    )
    conditional = systems.cvae_mnist(**SIZES)
    with pytest.raises(UserError, match="no labels"):
        runs.fit(conditional, unlabelled, num_epochs=1, workdir=tmp_path / "run")
    with pytest.raises(UserError, match=r"in 0\.\.8, got 9: .*num_classes=10"):
        narrow = systems.cvae_mnist(**SIZES, num_classes=9)
        runs.fit(narrow, dataset, num_epochs=1, workdir=tmp_path / "run")
    with pytest.raises(UserError, match="that JSON can hold, got schedule="):
        fit(tmp_path / "run", hyperparameters={"schedule": abs})
    with pytest.raises(UserError, match=r"whole number of at least 1, got 1\.5"):
        fit(tmp_path / "run", num_epochs=1.5)
    with pytest.raises(UserError, match="got both"):
        fit(tmp_path / "run", state=learner.init(jax.random.key(0)), init_from="x")
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_trained_weights_with_a_fresh_optimizer(fit, finished, tmp_path):
    def on_epoch(epoch, state, metrics):
        steps.append(int(state.step))

    interop.save(tmp_path / "w.safetensors", "vae_mnist", finished.state, **SIZES)
    histories, steps = [], []
    for name, source in {
        "state": {"state": finished.state},
        "workdir": {"init_from": finished.workdir},
        "file": {"init_from": tmp_path / "w.safetensors"},
    }.items():
        run = fit(tmp_path / name, num_epochs=1, on_epoch=on_epoch, **source)
        histories.append(without_seconds(run.history))
    assert steps == [3, 3, 3]
    assert histories[0] == histories[1] == histories[2]
    assert histories[0][0]["train/loss"] < finished.history[-1]["train/loss"]

    resumed = fit(tmp_path / "workdir", num_epochs=2, init_from=finished.workdir)
    assert len(resumed.history) == 2
    with pytest.raises(UserError, match=r"initial_weights .* there, None here"):
        fit(tmp_path / "workdir", num_epochs=3)


def test_weights_of_another_shape_are_refused(finished, dataset, tmp_path):
    other = systems.vae_mnist(**NARROW)
    with pytest.raises(UserError, match=r"to start from, where params/.*: build the learner"):
        runs.fit(other, dataset, num_epochs=1, workdir=tmp_path / "run", init_from=finished.workdir)
    assert not (tmp_path / "run").exists()


def test_load_opens_a_run_and_changes_nothing(finished):
    def contents():
        return {p: p.stat().st_mtime_ns for p in sorted(finished.workdir.rglob("*"))}

    before = contents()
    run = runs.load(str(finished.workdir))
    assert contents() == before
    assert_equal(run.state, finished.state)
    assert run.history == finished.history
    assert run.config == finished.config
    assert run.hyperparameters == SIZES
    key = jax.random.key(1)
    np.testing.assert_array_equal(
        run.learner.sample(run.state, 2, key), finished.learner.sample(finished.state, 2, key)
    )


def test_load_finds_the_data_of_a_run(finished, idx_folder):
    run = runs.load(finished.workdir)
    assert run.dataset.fingerprint == finished.dataset.fingerprint


def test_a_learner_of_ones_own_is_asked_for(fit, learner, tmp_path):
    run = fit(tmp_path / "run", num_epochs=1, hyperparameters={"width": 6})
    with pytest.raises(UserError, match=r"learner of your own.*learner="):
        runs.load(run.workdir)
    assert_equal(runs.load(run.workdir, learner=learner).state, run.state)


def test_load_names_what_is_missing_or_damaged(finished, tmp_path):
    def broken(name):
        shutil.copytree(finished.workdir, tmp_path / name)
        return tmp_path / name

    with pytest.raises(UserError, match=r"expected the folder of a run at .*, found none"):
        runs.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no config\.json"):
        runs.load(tmp_path)
    with pytest.raises(UserError, match="which to be 'last', 'best' or a step, got 'first'"):
        runs.load(finished.workdir, which="first")
    folder = broken("garbled")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        runs.load(folder)
    folder = broken("unknown")
    (folder / "config.json").write_text(json.dumps(finished.config | {"system": "vae_mars"}))
    with pytest.raises(UserError, match="'vae_mars', which this version"):
        runs.load(folder)
    folder = broken("empty")
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(UserError, match=r"expected a checkpoint in .*, found none"):
        runs.load(folder)
    folder = broken("flipped")
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "state.safetensors").unlink()
    with pytest.raises(UserError, match="found only damaged ones"):
        runs.load(folder)
    folder = broken("short")
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="to hold epochs 1 to 2"):
        runs.load(folder)
