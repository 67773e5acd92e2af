"""Populations: each member is what its learner is alone, and a run of its own on disk."""

import json
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from marks import slow_but

from jaxgen import data, learners, runs, systems
from jaxgen.errors import UserError
from jaxgen.learners import populations
from jaxgen.runs.evaluating import evaluate_run

pytestmark = pytest.mark.usefixtures("quick_compilation")

DENSE: dict[str, Any] = {
    "image_shape": (4, 4, 1),
    "hidden_sizes": (5,),
    "latent_size": 2,
    "batch_size": 4,
}
GAN: dict[str, Any] = {
    "image_shape": (4, 4, 1),
    "generator_sizes": (4,),
    "critic_sizes": (4,),
    "latent_size": 2,
    "num_critic_steps": 1,
    "batch_size": 4,
}
# 80 images: 20 steps.
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, list[float]]]] = {
    "vae_mnist": (
        systems.vae_mnist,
        DENSE,
        {"beta": [0.5, 2.0, 1.0], "learning_rate": [1e-3, 1e-2, 3e-3]},
    ),
    "vae_batchnorm_mnist": (
        systems.vae_batchnorm_mnist,
        DENSE | {"hidden_sizes": (5, 4)},
        {"learning_rate": [1e-3, 1e-2, 3e-3]},
    ),
    "cvae_mnist": (systems.cvae_mnist, DENSE, {"free_bits": [0.1, 0.5, 0.2]}),
    "wgan_mnist": (systems.wgan_mnist, GAN, {"weight_bound": [0.01, 0.1, 0.05]}),
    "wgan_gp_mnist": (systems.wgan_gp_mnist, GAN, {"penalty_weight": [10.0, 1.0, 3.0]}),
}


def pixels(count=80):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1)).astype(np.uint8)


def keys(seed, count=3):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("name", slow_but({"vae_mnist"}, CASES))
def test_members_are_what_their_learners_are_alone(name):
    system, fixed, numbers = CASES[name]
    members = learners.population(lambda **given: system(**given, **fixed), numbers)
    labels = np.arange(80) % 10 if name == "cvae_mnist" else None
    states = members.init(keys(1))
    states, metrics = members.epoch(states, pixels(), keys(2), labels)
    evaluated = members.evaluate(states, pixels(), keys(3), labels)
    given = {} if labels is None else {"labels": labels}
    losses = []
    for i in range(3):
        learner = system(**{k: values[i] for k, values in numbers.items()}, **fixed)
        state = learner.init(keys(1)[i])
        state, alone = learner.epoch(state, pixels(), keys(2)[i], **given)
        # The program of a population differs from that of one member in its fusions alone.
        for metric, values in alone.items():
            # A critic's estimate is a difference of means that nearly cancel.
            atol = 1e-4 if name.startswith("wgan") else 1e-7
            np.testing.assert_allclose(metrics[metric][i], values, rtol=1e-5, atol=atol)
        for metric, value in learner.evaluate(state, pixels(), keys(3)[i], **given).items():
            np.testing.assert_allclose(evaluated[metric][i], value, rtol=1e-5, atol=1e-4)
        own = learners.member_of(states, i)
        assert jax.tree.structure(own) == jax.tree.structure(state)
        losses.append(float(next(iter(alone.values()))[-1]))
    assert len(set(losses)) == 3


def test_an_epoch_in_stretches_is_the_same():
    system, fixed, numbers = CASES["vae_mnist"]
    members = learners.population(lambda **given: system(**given, **fixed), numbers)
    whole, _ = members.epoch(members.init(keys(1)), pixels(), keys(2))
    states = members.init(keys(1))
    for start, stop in ((0, 7), (7, 20)):
        states, _ = members.epoch(states, pixels(), keys(2), start=start, stop=stop)
    jax.tree.map(np.testing.assert_array_equal, states, whole)
    again = learners.stacked([learners.member_of(states, i) for i in range(3)])
    jax.tree.map(np.testing.assert_array_equal, again, states)


def test_a_member_that_diverges_does_so_alone():
    system, fixed, _ = CASES["vae_mnist"]
    rates = {"learning_rate": [1e-3, 1e30, 1e-2]}
    members = learners.population(lambda **given: system(**given, **fixed), rates)
    _, metrics = members.epoch(members.init(keys(1)), pixels(), keys(2))
    assert np.isfinite(metrics["loss"]).all(axis=1).tolist() == [True, False, True]
    learner = system(learning_rate=1e-2, **fixed)
    _, alone = learner.epoch(learner.init(keys(1)[2]), pixels(), keys(2)[2])
    np.testing.assert_allclose(metrics["loss"][2], alone["loss"], rtol=1e-5)


def test_seeds_alone_make_a_population():
    members = learners.population(lambda: systems.vae_mnist(**DENSE), num_members=4)
    assert members.num_members == 4
    states = members.init(keys(1, 4))
    assert len({float(x) for x in states.params["encoder"]["mean"]["kernel"][:, 0, 0]}) == 4


@pytest.mark.parametrize(
    ("numbers", "num_members"),
    [({"beta": [1.0, 2.0], "learning_rate": [1e-3]}, None), ({}, None), ({"beta": [1.0]}, 2)],
)
def test_members_have_to_be_counted(numbers, num_members):
    with pytest.raises(UserError, match="one number for each member"):
        learners.population(systems.vae_mnist, numbers, num_members)


@pytest.mark.slow
def test_members_side_by_side_are_those_in_turn(monkeypatch):
    """On an accelerator a device trains its members by `jax.vmap`."""
    _, fixed, numbers = CASES["vae_mnist"]
    found = []
    for in_turn in (True, False):
        monkeypatch.setattr(populations, "_in_turn", lambda mesh, chosen=in_turn: chosen)
        members = learners.population(lambda **given: systems.vae_mnist(**given, **fixed), numbers)
        states, metrics = members.epoch(members.init(keys(1)), pixels(), keys(2), start=0, stop=5)
        found.append({**metrics, **members.evaluate(states, pixels(), keys(3))})
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-5, err_msg=name)


def test_every_member_needs_a_key():
    members = learners.population(lambda: systems.vae_mnist(**DENSE), num_members=4)
    with pytest.raises(UserError, match="each of the 4 members, got 3"):
        members.init(keys(1))


SPREAD = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jaxgen import learners, systems
fixed = {"image_shape": (4, 4, 1), "hidden_sizes": (5,), "latent_size": 2, "batch_size": 4}
of = lambda beta: systems.vae_mnist(beta=beta, **fixed)
images = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 1)).astype(np.uint8)
results = []
for devices in (jax.devices(), jax.devices()[:1]):
    members = learners.population(of, {"beta": [0.5, 1.0, 2.0, 4.0]}, devices=devices)
    states = members.init(jax.random.split(jax.random.key(0), 4))
    states, metrics = members.epoch(states, images, jax.random.split(jax.random.key(1), 4))
    results.append(np.asarray(metrics["loss"]))
    print(members.num_devices, len(metrics["loss"].devices()))
np.testing.assert_array_equal(*results)
"""


@pytest.mark.slow
def test_members_are_spread_over_devices():
    done = subprocess.run(
        [sys.executable, "-c", SPREAD], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout.split() == ["2", "2", "1", "1"]


# ---- runs


@pytest.fixture(scope="module")
def dataset():
    images = pixels(92)
    return data.from_arrays(images[:80], None, images[80:])


def fit(dataset, workdir, num_epochs=2, betas=(0.5, 2.0), **options):
    return runs.fit_population(
        systems.vae_mnist,
        dataset,
        num_epochs=num_epochs,
        workdir=workdir,
        seeds=[0, 7],
        hyperparameters={"beta": betas},
        fixed=DENSE,
        system="vae_mnist",
        **options,
    )


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def test_members_are_ordinary_runs(dataset, tmp_path):
    found = fit(dataset, tmp_path)
    names = ["beta-0.5_seed-0", "beta-0.5_seed-7", "beta-2.0_seed-0", "beta-2.0_seed-7"]
    assert [run.workdir.name for run in found] == names
    alone = runs.fit(
        systems.vae_mnist(beta=2.0, **DENSE),
        dataset,
        num_epochs=2,
        workdir=tmp_path / "alone",
        seed=7,
        system="vae_mnist",
        hyperparameters=DENSE | {"beta": 2.0},
        pictures=False,
    )
    for own, record in zip(found[3].history, alone.history, strict=True):
        assert own.keys() == record.keys()
        for name in own.keys() - {"seconds"}:
            np.testing.assert_allclose(own[name], record[name], rtol=1e-5)
    for own, other in zip(*(jax.tree.leaves(r.state) for r in (found[3], alone)), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)
    assert (found[0].workdir / "report.html").exists()
    # The member goes on as a run by itself.
    resumed = runs.fit(
        systems.vae_mnist(beta=2.0, **DENSE),
        dataset,
        num_epochs=3,
        workdir=found[3].workdir,
        seed=7,
        system="vae_mnist",
        hyperparameters=DENSE | {"beta": 2.0},
        pictures=False,
    )
    assert [record["epoch"] for record in resumed.history] == [1, 2, 3]

    points = json.loads((tmp_path / "population.json").read_text())
    assert [point["point"] for point in points] == [{"beta": 0.5}, {"beta": 2.0}]
    last = [run.history[-1]["test/loss"] for run in found]
    assert points[1]["mean"]["test/loss"] == pytest.approx(np.mean(last[2:]))
    assert points[1]["sd"]["test/loss"] == pytest.approx(np.std(last[2:], ddof=1))


@pytest.mark.slow
def test_a_population_resumes(dataset, tmp_path):
    straight = fit(dataset, tmp_path / "straight", num_epochs=3)
    fit(dataset, tmp_path / "run", num_epochs=1)
    # A process that died while it saved the second epoch: one member has it.
    fit(dataset, tmp_path / "run", num_epochs=2)
    behind = tmp_path / "run" / "members" / "beta-2.0_seed-0"
    newest = max((behind / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    resumed = fit(dataset, tmp_path / "run", num_epochs=3)
    for a, b in zip(resumed, straight, strict=True):
        assert without_seconds(a.history) == without_seconds(b.history)
        jax.tree.map(np.testing.assert_array_equal, a.state, b.state)


def test_a_member_that_diverges_is_kept_and_named(dataset, tmp_path, capsys):
    def train(num_epochs):
        return runs.fit_population(
            systems.vae_mnist,
            dataset,
            num_epochs=num_epochs,
            workdir=tmp_path,
            seeds=[0],
            hyperparameters={"learning_rate": [1e-3, 1e30]},
            fixed=DENSE,
            system="vae_mnist",
        )

    (kept,) = train(1)
    assert "learning_rate-1e+30_seed-0 has diverged" in capsys.readouterr().out
    assert kept.workdir.name == "learning_rate-0.001_seed-0"
    (kept,) = train(2)
    assert [record["epoch"] for record in kept.history] == [1, 2]
    points = json.loads((tmp_path / "population.json").read_text())
    assert points[1]["diverged"] == ["learning_rate-1e+30_seed-0"]
    assert points[1]["mean"] == {}


@pytest.mark.slow
def test_the_run_ends_when_all_have_diverged(dataset, tmp_path):
    with pytest.raises(UserError, match="every member has diverged"):
        runs.fit_population(
            systems.vae_mnist,
            dataset,
            num_epochs=3,
            workdir=tmp_path,
            seeds=[0, 1],
            hyperparameters={"learning_rate": [1e30]},
            fixed=DENSE,
        )


def test_fewer_epochs_than_there_are_is_an_error(dataset, tmp_path):
    fit(dataset, tmp_path, num_epochs=2, betas=[1.0])
    with pytest.raises(UserError, match="holds 2 epochs, more than --num-epochs 1"):
        fit(dataset, tmp_path, num_epochs=1, betas=[1.0])
    assert len(runs.load(tmp_path / "members" / "beta-1.0_seed-0").history) == 2


def test_a_damaged_divergence_is_one_line(dataset, tmp_path):
    fit(dataset, tmp_path, num_epochs=1, betas=[1.0])
    file = tmp_path / "members" / "beta-1.0_seed-0" / "diverged.json"
    for text in ("", "[1]", '{"epoch": "x"}', '{"epoch": 0}'):
        file.write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            fit(dataset, tmp_path, num_epochs=2, betas=[1.0])


@pytest.mark.slow
def test_members_of_a_learner_of_your_own_have_their_own_numbers(dataset, tmp_path):
    """As with every run of a learner of your own, `load` cannot build it from config.json."""

    def learner_of(beta):
        return systems.vae_mnist(beta=beta, **DENSE)

    found = runs.fit_population(
        learner_of,
        dataset,
        num_epochs=1,
        workdir=tmp_path,
        seeds=[0],
        hyperparameters={"beta": [0.5, 2.0]},
    )
    for run, beta in zip(found, (0.5, 2.0), strict=True):
        metrics = run.learner.evaluate(run.state, dataset.test.images, jax.random.key(0))
        np.testing.assert_allclose(
            metrics["loss"], metrics["elbo"] * -1 + (beta - 1) * metrics["kl"], rtol=1e-5
        )


@pytest.mark.slow
def test_members_can_be_evaluated(dataset, tmp_path, monkeypatch):
    run = fit(dataset, tmp_path, num_epochs=1, betas=[1.0])[0]
    vars(run)["dataset"] = dataset
    report = evaluate_run(run, num_samples=5, score=True)
    assert report["epoch"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "different seeds"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"seeds": [-1]}, "--seed"),
        ({"num_epochs": 0}, "--num-epochs"),
        ({"hyperparameters": {"beta": [1.0], "free_bits": [0.1, 0.2]}}, "equally long"),
        ({"hyperparameters": {"beta": [1.0, 1.0]}}, "one twice"),
        ({"hyperparameters": {"beta": []}}, "equally long"),
    ],
)
def test_what_does_not_fit_together_is_refused(dataset, tmp_path, change, message):
    arguments: dict[str, Any] = {"num_epochs": 1, "seeds": [0], "fixed": DENSE} | change
    with pytest.raises(UserError, match=message):
        runs.fit_population(systems.vae_mnist, dataset, workdir=tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
