"""Runs that are interrupted within an epoch end as if nothing had happened."""

import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from marks import slow_but
from test_runs import kept, records

from jaxgen import data, learners, models, runs, systems
from jaxgen.errors import UserError
from jaxgen.models.likelihoods import bernoulli
from jaxgen.networks.mlp import MLPDecoder, MLPEncoder
from jaxgen.runs import trainer, training
from jaxgen.runs.training import Pace, means_over_images, next_stop

pytestmark = pytest.mark.usefixtures("shared_systems")
NUM_EPOCHS = 2
# 40 images: steps of 8 or 16, whose last has 8 images.
SYSTEMS = {
    "vae_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 8 --kl-schedule linear "
    "--kl-schedule-steps 7 --binarization dynamic",
    "vae_batchnorm_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 16",
    "wgan_mnist": "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4 "
    "--num-critic-steps 2 --ema-decay 0.9",
    "cvae_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 8",
}
EVERY = 2  # steps between two looks of a GAN


@pytest.fixture
def start(idx_folder):
    def start(system, workdir, *words):
        args = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir)]
        args += [*SYSTEMS[system].split(), *words]
        return runs.start(getattr(systems, system), num_epochs=NUM_EPOCHS, args=args)

    return start


@pytest.fixture
def train(start):
    def train(system, workdir, *words):
        with start(system, workdir, *words) as run:
            drawing = runs.standard_pictures(run)
            every, watch = drawing.every, drawing.watch
            if watch is not None:
                every = drawing.every = EVERY
            for state in run.epochs(every, watch):
                drawing.draw_epoch(state)
            drawing.draw_run()
        return run

    return train


class Interrupt:
    """Raises KeyboardInterrupt after so many stretches, once."""

    def __init__(self, monkeypatch, after: int):
        wait, self.left = training.wait_until_ready, after

        def interrupted(arrays):
            wait(arrays)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(trainer, "wait_until_ready", interrupted)


def assert_same(run, other):
    for a, b in zip(jax.tree.leaves(run.state), jax.tree.leaves(other.state), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    records, events, pictures = kept(run.workdir)
    other_records, other_events, other_pictures = kept(other.workdir)
    assert records == other_records
    assert events == other_events
    assert pictures.keys() == other_pictures.keys()
    assert [name for name in pictures if pictures[name] != other_pictures[name]] == []


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    monkeypatch.setattr(training, "FIRST_STEPS", 1)
    monkeypatch.setattr(training, "GROWTH", 1)


@pytest.mark.parametrize("system", slow_but({"vae_mnist"}, ["vae_mnist", "wgan_mnist"]))
def test_an_interrupt_within_an_epoch_changes_nothing(system, train, tmp_path, monkeypatch, capsys):
    straight = train(system, tmp_path / "straight")
    # In the first epoch, in its evaluation, in the second epoch: 5 steps and an evaluation each.
    for after in (3, 3, 3):
        with monkeypatch.context() as patch:
            Interrupt(patch, after)
            with pytest.raises(KeyboardInterrupt):
                train(system, tmp_path / "run")
    resumed = train(system, tmp_path / "run")
    out = capsys.readouterr().out
    assert "resumes after step 3 with the same command" in out
    assert "resuming after epoch 0, step 3 of the next" in out
    assert_same(resumed, straight)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4, 5, 6, 7, 9, 11])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_step_is_a_place_to_stop(system, after, train, tmp_path, monkeypatch):
    straight = train(system, tmp_path / "straight")
    with monkeypatch.context() as patch:
        Interrupt(patch, after)
        try:
            train(system, tmp_path / "run")
        except KeyboardInterrupt:
            pass
    assert_same(train(system, tmp_path / "run"), straight)


def test_checkpoints_within_an_epoch(start, tmp_path):
    """A run that loses its last state goes back to the step saved before, and ends the same."""
    with start("vae_mnist", tmp_path / "run", "--checkpoint-every", "3", "--keep", "9") as run:
        for _ in run.epochs():
            pass
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(int(path.name) for path in folder.iterdir()) == [3, 5, 6, 9, 10]
    for step in (9, 10):
        for file in (folder / str(step)).iterdir():
            file.write_bytes(b"damaged")
    with start("vae_mnist", tmp_path / "run", "--keep", "2") as resumed:
        assert resumed.step == 6
        assert resumed.epoch == 1
        for _ in resumed.epochs():
            pass
    for a, b in zip(jax.tree.leaves(run.state), jax.tree.leaves(resumed.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(records(tmp_path / "run")) == 2
    assert len(list(folder.iterdir())) == 2
    middle = runs.load(tmp_path / "run", 6)
    assert len(middle.history) == 1


def test_the_best_on_a_validation_split_is_kept(start, tmp_path):
    words = ["--keep-best", "loss", "--validation-fraction", "0.2", "--keep", "1"]
    words += ["--num-epochs", "4", "--learning-rate", "0.5"]  # it gets worse
    with start("vae_mnist", tmp_path / "run", *words) as run:
        assert len(run.dataset.train.images) == 32
        for _ in run.epochs():
            pass
    values = [record["validation/loss"] for record in run.history]
    best = int(np.argmin(values)) + 1
    loaded = runs.load(tmp_path / "run", "best")
    assert loaded.history[-1]["epoch"] == best
    steps = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert steps == {4 * best, 16}
    assert int(loaded.state.step) == 4 * best
    last = runs.load(tmp_path / "run")
    assert last.history[-1]["epoch"] == 4
    # What is evaluated later has the same split.
    for name in ("train", "validation"):
        np.testing.assert_array_equal(
            last.dataset.splits[name].images, run.dataset.splits[name].images
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--keep-best", "loss"], r"validation split of .* found test, train.*validation-fraction"),
        (["--validation-fraction", "1.5"], "between 0 and 1, got 1.5"),
        (["--keep", "0"], "--keep to be a whole number of at least 1, got 0"),
        (["--checkpoint-every", "0"], "--checkpoint-every to be a whole number"),
        (
            ["--keep-best", "lost", "--validation-fraction", "0.2"],
            "--keep-best among .*loss.*, got lost",
        ),
    ],
)
def test_settings_that_make_no_sense(words, message, start, tmp_path):
    with pytest.raises(UserError, match=message):
        with start("vae_mnist", tmp_path / "run", *words):
            pass


def test_load_says_which_checkpoints_there_are(train, tmp_path):
    train("vae_mnist", tmp_path / "run", "--no-pictures")
    with pytest.raises(UserError, match=r"checkpoint of step 7, found those of steps 5, 10"):
        runs.load(tmp_path / "run", 7)
    with pytest.raises(UserError, match=r"the best: the run was not given --keep-best"):
        runs.load(tmp_path / "run", "best")


def dataset(number: int):
    images = np.random.default_rng(0).integers(0, 256, (number, 8, 8, 1)).astype(np.uint8)
    return data.from_arrays(images, None, images[:8])


def vae(at: int, kind: str = "loss"):
    """A VAE whose loss in step `at` is NaN; or finite, with a gradient that is NaN."""
    encoder, decoder = MLPEncoder((6,), 2), MLPDecoder((6,), (8, 8, 1))
    model = models.vae(encoder, decoder, bernoulli(), image_shape=(8, 8, 1))

    def loss(variables, images, key, step, **labels):
        value, (metrics, rest) = model.loss(variables, images, key, step, **labels)
        if kind == "loss":
            added = jnp.where(step == at, jnp.nan, 0.0)
        else:  # the slope of a square root at zero is infinite, and 0 times infinity is no number
            leaf = jax.tree.leaves(variables["params"])[0]
            added = jnp.sqrt(jnp.where(step == at, 0 * leaf**2, 1.0)).sum()
        return value + added, (metrics | {"loss": value + added}, rest)

    return learners.minimize(model._replace(loss=loss), optax.sgd(1e-4), batch_size=8)


@pytest.mark.parametrize(("kind", "step"), [("loss", 8), ("gradient", 9)])
def test_what_is_not_finite_stops_the_run_at_its_step(kind, step, tmp_path):
    # Steps are counted from 1: the eighth step has number 7. A gradient shows in the next loss.
    message = rf"^train/\w+ became nan in epoch 2, step {step} of .*state is that of step 5: lower"
    learner = vae(7, kind)
    with pytest.raises(UserError, match=message):
        runs.fit(learner, dataset(40), num_epochs=3, workdir=tmp_path / "run", pictures=False)
    assert len(records(tmp_path / "run")) == 1
    assert runs.load(tmp_path / "run", learner=learner).history[-1]["step"] == 5


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_updates_that_are_not_finite_can_be_left_out(kind, tmp_path):
    run = runs.fit(
        vae(7, kind),
        dataset(40),
        num_epochs=3,
        workdir=tmp_path / "run",
        pictures=False,
        on_nonfinite="skip",
    )
    assert [record["train/skipped"] for record in run.history] == [0, 1, 0]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run.state))
    assert int(run.state.step) == 15
    assert run.config["on_nonfinite"] == "skip"


def test_a_skipped_update_changes_nothing_but_the_step():
    learner = vae(1).require("skipping_nonfinite")()
    images = dataset(16).train.images[:8]
    state, metrics = learner.step(learner.init(jax.random.key(0)), images, jax.random.key(1))
    assert metrics["skipped"] == 0
    before = jax.tree.map(np.asarray, state)
    state, metrics = learner.step(state, images, jax.random.key(2))
    assert metrics["skipped"] == 1
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(before.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(state.step) == 2


def test_a_gan_leaves_out_what_is_not_finite():
    def update(updates, state, params=None):
        del params
        bad = jnp.where(state == 2, jnp.nan, 1.0)
        return jax.tree.map(lambda g: -1e-3 * g * bad, updates), state + 1

    gan = systems.wgan_mnist(
        image_shape=(8, 8, 1),
        generator_sizes=(6,),
        critic_sizes=(5,),
        latent_size=2,
        batch_size=8,
        num_critic_steps=1,
        generator_optimizer=optax.GradientTransformation(lambda params: jnp.zeros((), int), update),
    )
    learner = gan.require("skipping_nonfinite")()
    images = dataset(40).train.images[:32]
    state, metrics = learner.epoch(learner.init(jax.random.key(0)), images, jax.random.key(1))
    # The state of the optimizer stays as well, and with it this optimizer's fault.
    np.testing.assert_array_equal(metrics["skipped"], [0, 0, 1, 1])
    np.testing.assert_array_equal(metrics["num_images"], [8, 8, 0, 0])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_means_leave_out_what_was_skipped():
    steps = {
        "loss": np.array([1.0, np.nan, 4.0]),
        "num_images": np.array([8.0, 0.0, 4.0]),
        "skipped": np.array([0.0, 1.0, 0.0]),
    }
    assert means_over_images(steps) == {"loss": 2.0, "skipped": 1.0}
    assert training.first_broken(steps) is None
    with pytest.raises(UserError, match="finite loss in one step at least"):
        means_over_images({name: values[1:2] for name, values in steps.items()})


def test_the_first_broken_metric_is_named():
    steps = {
        "kl": np.array([1.0, np.inf, np.nan]),
        "loss": np.array([1.0, 2.0, np.nan]),
        "num_images": np.full(3, 8.0),
    }
    assert training.first_broken(steps) == (1, "kl", np.inf)


def test_stretches_end_at_every_multiple():
    # Seven steps were done before; looks every 4, checkpoints every 5, at most 3 steps a stretch.
    position, stops = 0, []
    while position < 8:
        position = next_stop(position, 8, 3, 7, (4, 5))
        stops.append(position)
    assert stops == [1, 3, 5, 8]


def test_a_stretch_lasts_about_three_seconds(monkeypatch):
    monkeypatch.undo()
    pace = Pace()
    pace.measured(16, 20.0)  # compiles
    assert pace.steps == 16
    pace.measured(16, 0.016)  # a millisecond per step: 3,000, but for the limit of growth
    assert pace.steps == 256
    pace.measured(256, 0.256)
    assert pace.steps == 3000
    pace.measured(10, 60.0)
    assert pace.steps == 1


BUSY = """
import jax, jax.numpy as jnp, os, signal, threading, time
from jaxgen import runs
from jaxgen.runs.training import wait_until_ready

def main():
    x = jnp.ones((1000, 1000))
    product = jax.jit(lambda x: jax.lax.fori_loop(0, 3000, lambda _, y: x @ y / 1000, x))
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    wait_until_ready(product(x))
    print("not interrupted")

runs.command(main)
"""


@pytest.mark.slow
def test_a_signal_during_a_long_computation_ends_with_its_code():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert time.monotonic() - start < 20  # the computation takes longer


DROPPED = BUSY.replace("wait_until_ready(product(x))", "product(x); time.sleep(60)").replace(
    "3.0", "1.0"
)


def test_a_signal_beside_a_long_computation_does_not_wait_for_it():
    """Python would wait for it at exit, even where nothing refers to the result any more."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
    assert time.monotonic() - start < 20


def test_a_second_signal_in_the_midst_of_a_step_saves_nothing_and_loses_nothing(start, tmp_path):
    """The state is donated then: there is none to save, and no traceback about that."""
    with pytest.raises(KeyboardInterrupt), start("vae_mnist", tmp_path / "run") as run:
        epoch = run.learner.epoch

        def interrupted(state, *args, **words):
            found = epoch(state, *args, **words)
            if words["start"] == 2:
                raise KeyboardInterrupt
            return found

        run._trainer.feeding._learner = run.learner._replace(epoch=interrupted)
        for _ in run.epochs():
            pass
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


WAITING = """
import time
from jaxgen import _process

_process.LEAVE_SECONDS = 0.5

def main():
    with _process.deferred():  # as a compilation, in which no handler runs
        print("ready", flush=True)
        time.sleep(60)

_process.command(main)
"""


def test_a_command_leaves_what_it_waits_for_after_some_seconds():
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "SIGTERM, in the midst of a compilation" in error
