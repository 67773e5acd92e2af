"""Populations from the command line: tables, curves with bands, and the sweep of beta."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxgen import runs, systems
from jaxgen.errors import UserError
from jaxgen.visualization import spreads

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SMALL = "--hidden-sizes 6 --latent-size 2 --batch-size 8 --num-epochs 2"
pytestmark = pytest.mark.usefixtures("quick_compilation")


def words(idx_folder, folder):
    return ["--dataset", f"idx:{idx_folder}", "--workdir", str(folder)]


def run_script(name, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", [name, *args])
    runpy.run_path(str(EXPERIMENTS / name), run_name="__main__")


def test_seeds_of_a_system(idx_folder, tmp_path, monkeypatch, capsys):
    args = ["vae_mnist", *SMALL.split(), "--num-seeds", "2", "--seed", "3", "--evaluate"]
    with monkeypatch.context() as patch:
        patch.setattr(
            "jaxgen.runs.population_starting.evaluate_run",
            lambda run: runs.evaluate_run(run, num_samples=2, num_images=4, score=True),
        )
        run_script("seeds.py", patch, *args, *words(idx_folder, tmp_path / "run"))
    said = capsys.readouterr().out
    folders = sorted((tmp_path / "run" / "members").iterdir())
    assert [folder.name for folder in folders] == ["seed-3", "seed-4"]
    losses = [runs.load(folder).history[-1]["test/loss"] for folder in folders]
    mean, deviation = np.mean(losses), np.std(losses, ddof=1)
    assert f"{mean:.5g} ± {deviation:.2g}" in said
    assert "nearest training image" in said  # the table of evaluations
    assert (folders[0] / "evaluation.json").exists()
    names = {path.name for path in (tmp_path / "run" / "images").iterdir()}
    assert names >= {"loss.png", "kl.png", "reconstruction.png"}


@pytest.mark.slow
def test_seeds_of_a_gan(idx_folder, tmp_path, monkeypatch, capsys):
    small = "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4 --num-epochs 1"
    args = ["wgan_mnist", *small.split(), "--num-seeds", "2"]
    run_script("seeds.py", monkeypatch, *args, *words(idx_folder, tmp_path / "run"))
    assert "generator_loss" in capsys.readouterr().out
    assert (tmp_path / "run" / "images" / "diversity.png").exists()


def test_a_sweep_draws_rate_and_distortion(idx_folder, tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        spreads, "error_bars", lambda path, points, *labels: shown.update(path=path, points=points)
    )
    args = [*SMALL.split(), "--betas", "0.5", "2.0", "--num-seeds", "2"]
    run_script("vae_sweep.py", monkeypatch, *args, *words(idx_folder, tmp_path / "run"))
    assert list(shown["points"]) == ["beta 0.5", "beta 2"]
    for beta in (0.5, 2.0):
        rate, distortion = shown["points"][f"beta {beta:g}"]
        for seed in (0, 1):
            run = runs.load(tmp_path / "run" / "members" / f"beta-{beta}_seed-{seed}")
            assert run.config["beta"] == beta
            assert run.history[-1]["test/kl"] == rate[seed]
            assert run.history[-1]["test/reconstruction"] == distortion[seed]
    assert (tmp_path / "run" / "images" / "samples.png").exists()


CORES = """
import os, sys
from jaxgen import runs, systems
import jax
found = runs.train_population(systems.vae_mnist, num_seeds=2, num_epochs=1, args=sys.argv[1:])
assert jax.device_count() == len(os.sched_getaffinity(0)), jax.device_count()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_members_are_spread_over_the_cores(idx_folder, tmp_path):
    args = [*SMALL.split()[:6], *words(idx_folder, tmp_path / "run")]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", CORES, *args], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--num-seeds 0", "--num-seeds"),
        (f"--seed {2**32 - 1} --num-seeds 2", "--seed"),
        ("--betas", "at least one value for --betas"),
        ("--batch-size 4000", "exceeds"),
    ],
)
def test_what_does_not_make_sense_is_refused(idx_folder, tmp_path, more, message):
    args = [*more.split(), *words(idx_folder, tmp_path / "run")]
    with pytest.raises(UserError, match=message):
        runs.train_population(systems.vae_mnist, swept={"beta": (1.0,)}, num_epochs=1, args=args)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--no-pictures", "--keep-best loss", "--beta 2"])
def test_flags_of_single_runs_are_unknown(idx_folder, tmp_path, flag, capsys):
    args = [*flag.split(), *words(idx_folder, tmp_path / "run")]
    with pytest.raises(SystemExit):
        runs.train_population(systems.vae_mnist, swept={"beta": (1.0,)}, args=args)
    assert "nrecognized" in capsys.readouterr().err


def test_an_unknown_system_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_script("seeds.py", monkeypatch, "resnet")
    assert stopped.value.code == 2
    assert "expected a system, one of" in capsys.readouterr().err


def test_bands_are_mean_and_deviation_of_what_is_finite():
    values = np.array([[1.0, 2.0, np.nan], [3.0, 6.0, np.nan], [np.inf, 4.0, 5.0]])
    mean, deviation = spreads.mean_and_deviation(values)
    np.testing.assert_allclose(mean, [2.0, 4.0, 5.0])
    np.testing.assert_allclose(deviation, [2**0.5, 2.0, 0.0])
    none = spreads.mean_and_deviation(np.array([[np.nan]]))
    assert np.isnan(none).all()


@pytest.mark.slow
def test_a_member_that_diverged_is_counted_beside_the_means(idx_folder, tmp_path, capsys):
    args = [*SMALL.split(), "--num-seeds", "1", "--learning-rates", "0.001", "1e30"]
    args += words(idx_folder, tmp_path / "run")
    found = runs.train_population(systems.vae_mnist, swept={"learning_rate": ()}, args=args)
    assert [member.config["learning_rate"] for member in found.members] == [0.001]
    rows = capsys.readouterr().out.splitlines()
    assert any(row.split()[:4] == ["learning_rate", "1e+30", "1", "1"] for row in rows)
    entries = json.loads((tmp_path / "run" / "population.json").read_text())
    assert entries[1]["mean"] == {}
