"""The loop: what a run leaves behind, resuming, determinism, and mistakes told in one line."""

import json
import shutil
import struct
from typing import Any

import jax
import jax.monitoring
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

from jaxgen import runs, systems
from jaxgen.errors import UserError
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.runs.reporting import COMPILE_EVENT

pytestmark = pytest.mark.usefixtures("shared_systems")
OWN = systems.vae_mnist  # which gives a learner that no other run has used

SMALL = "--hidden-sizes 6 --latent-size 2 --batch-size 16".split()
NUM_TRAIN = 40  # in the folder of generated images; the last batch of 16 has 8


@pytest.fixture
def start(idx_folder):
    def start(workdir, *words, num_epochs=2):
        args = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir), *SMALL, *words]
        return runs.start(systems.vae_mnist, num_epochs=num_epochs, args=args)

    return start


@pytest.fixture
def train(start):
    def train(workdir, *words, num_epochs=2):
        with start(workdir, *words, num_epochs=num_epochs) as run:
            for state in run.epochs():
                run.draw("samples", run.learner.sample(state, 1, run.key("samples"))[0])
            run.curves("loss", "nats")
        return run

    return train


@pytest.fixture(scope="module")
def finished(idx_folder, tmp_path_factory):
    """A run of three epochs, and how many compilations it took by the end of each."""
    compilations, after_epoch = [], []

    def count(event, duration_secs, **_):
        if event == COMPILE_EVENT:
            compilations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(count)
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    args = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir), *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
        with runs.start(OWN, num_epochs=3, args=args) as run:
            for state in run.epochs():
                run.draw("samples", run.learner.sample(state, 1, run.key("samples"))[0])
                after_epoch.append(len(compilations))
            run.curves("loss", "nats")
    return run, workdir, after_epoch


def records(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]  # all else is determined by the seed
    return lines


def leaves(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.state)]


def test_a_run_leaves_what_it_promises(finished):
    run, workdir, _ = finished
    config = json.loads((workdir / "config.json").read_text())
    assert config["system"] == "vae_mnist"
    assert config["image_shape"] == [8, 8, 1]
    assert config["num_examples"] == NUM_TRAIN
    assert config["dataset_fingerprint"] == run.dataset.fingerprint
    assert config["versions"]["jax"] == jax.__version__
    assert config["device"]["platform"] == jax.default_backend()

    metrics = records(workdir)
    assert [record["epoch"] for record in metrics] == [1, 2, 3]
    assert [record["step"] for record in metrics] == [3, 6, 9]
    for split in ("train", "test"):
        for name in ("loss", "elbo", "kl", "reconstruction"):
            assert np.isfinite([record[f"{split}/{name}"] for record in metrics]).all()

    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["test/elbo"] == metrics[-1]["test/elbo"]
    assert summary["total_seconds"] > summary["compile_seconds"] > 0
    assert summary["steps_per_second"] > 0

    pictures = {path.name for path in (workdir / "images").iterdir()}
    assert pictures == {"samples-001.png", "samples-002.png", "samples-003.png", "loss.png"}
    assert list((workdir / "tensorboard").glob("events.*"))
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"6", "9"}
    assert not list(workdir.rglob("*.tmp"))


def test_metrics_are_means_over_the_images_not_over_the_steps(start, tmp_path):
    """The last batch has half the images of the others, and half their weight."""
    with start(tmp_path / "run", num_epochs=1) as run:
        initial = run.learner.init(run.key("init"))
        _, steps = run.learner.epoch(initial, run.dataset.train.images, run.key("train", 1))
        for _ in run.epochs():
            pass
    loss = np.asarray(steps["loss"], np.float64)
    expected = (16 * loss[0] + 16 * loss[1] + 8 * loss[2]) / 40
    np.testing.assert_allclose(run.history[0]["train/loss"], expected, rtol=1e-12)
    assert abs(loss.mean() - expected) > 1e-9


def test_num_examples_trains_on_the_first_so_many(start, tmp_path):
    with start(tmp_path / "run", "--num-examples", "20", num_epochs=1) as run:
        initial = run.learner.init(run.key("init"))
        images = run.dataset.train.images[:20]
        _, steps = run.learner.epoch(initial, images, run.key("train", 1))
        for _ in run.epochs():
            pass
    (record,) = run.history
    assert record["step"] == len(steps["loss"]) == 2
    expected = np.average(np.asarray(steps["loss"], np.float64), weights=[16, 4])
    np.testing.assert_allclose(record["train/loss"], expected, rtol=1e-12)


def test_a_state_that_does_not_change_is_evaluated_alike_every_epoch(start, tmp_path):
    """Under the same key; training has another one in every epoch."""
    with start(tmp_path / "run", "--learning-rate", "1e-30") as run:
        for _ in run.epochs():
            pass
    first, second = run.history
    assert first["test/loss"] == second["test/loss"]
    assert first["train/loss"] != second["train/loss"]


def test_steps_of_a_schedule_count_the_ragged_ones(idx_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgen.runs.starting.open_run", lambda *_, **given: given)
    words = f"--dataset idx:{idx_folder} --workdir {tmp_path / 'run'} --batch-size 16"
    for more, num_steps in (("", 9), ("--num-examples 20", 6), ("--num-steps 100", 100)):
        args = f"{words} {more}".split()
        given: Any = runs.start(systems.iwae_mnist, num_epochs=3, args=args)
        assert given["hyperparameters"]["num_steps"] == num_steps


def test_nothing_compiles_after_the_first_epoch(finished):
    run, _, compilations = finished
    assert compilations[0] == compilations[-1]
    for function in (run.learner.init, run.learner.epoch, run.learner.evaluate):
        assert function._cache_size() == 1


def test_the_seed_decides_every_bit(finished, train, tmp_path):
    run, workdir, _ = finished
    again = train(tmp_path / "again", num_epochs=3)
    assert records(tmp_path / "again") == records(workdir)
    for a, b in zip(leaves(run), leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)

    other = train(tmp_path / "other", "--seed", "1", num_epochs=1)
    assert other.history[0]["train/loss"] != run.history[0]["train/loss"]


def test_resuming_towards_more_epochs_changes_nothing_else(finished, train, tmp_path):
    run, workdir, _ = finished
    train(tmp_path / "run", num_epochs=1)
    resumed = train(tmp_path / "run", num_epochs=3)
    assert records(tmp_path / "run") == records(workdir)
    for a, b in zip(leaves(run), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["num_epochs"] == 3


def test_an_interrupted_run_resumes(finished, start, train, tmp_path, capsys):
    _, workdir, _ = finished
    with pytest.raises(KeyboardInterrupt), start(tmp_path / "run", num_epochs=3) as run:
        for _ in run.epochs():
            if run.epoch == 2:
                raise KeyboardInterrupt
    assert "resumes" in capsys.readouterr().out
    assert len(records(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / "summary.json").exists()
    train(tmp_path / "run", num_epochs=3)
    assert records(tmp_path / "run") == records(workdir)


def test_metrics_that_outran_the_checkpoint_are_written_anew(finished, train, tmp_path):
    """As after a crash between the two writes."""
    _, workdir, _ = finished
    train(tmp_path / "run", num_epochs=1)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "seco')
    train(tmp_path / "run", num_epochs=3)
    assert records(tmp_path / "run") == records(workdir)


def events(folder):
    """The scalars and pictures in TensorBoard's files: (step, name) in the order of writing."""
    found = []
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            found += [(event.step, value.tag) for value in event.summary.value]
            content = content[16 + length :]
    return found


def kept(workdir):
    """Everything that a run leaves of its epochs, but for the state."""
    pictures = {path.name: path.read_bytes() for path in (workdir / "images").iterdir()}
    return records(workdir), sorted(events(workdir / "tensorboard")), pictures


@pytest.mark.parametrize("lost", ["all", "last"])
def test_records_agree_with_the_state_whatever_was_lost(finished, train, tmp_path, lost):
    """A checkpoint that could not be written, or was damaged, takes its epoch's records along."""
    _, workdir, _ = finished
    train(tmp_path / "run", num_epochs=3)
    folder = tmp_path / "run" / "checkpoints"
    if lost == "all":
        for checkpoint in folder.iterdir():
            shutil.rmtree(checkpoint)
    else:
        shutil.rmtree(folder / "9")
    (tmp_path / "run" / "images" / "mine.png").write_bytes(b"")

    run = train(tmp_path / "run", num_epochs=2)
    assert [record["epoch"] for record in records(tmp_path / "run")] == [1, 2]
    assert {step for step, _ in events(tmp_path / "run" / "tensorboard")} == {1, 2}
    pictures = {path.name for path in (tmp_path / "run" / "images").iterdir()}
    assert pictures == {"samples-001.png", "samples-002.png", "loss.png", "mine.png"}
    assert run.epoch == 2

    (tmp_path / "run" / "images" / "mine.png").unlink()
    train(tmp_path / "run", num_epochs=3)
    assert kept(tmp_path / "run") == kept(workdir)


def test_a_failing_first_checkpoint_leaves_no_record_behind(finished, start, train, tmp_path):
    _, workdir, _ = finished

    def fail(*_):
        raise UserError("cannot write checkpoints: no space")

    for _ in range(2):
        run = start(tmp_path / "run", num_epochs=3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "save", fail)
            with pytest.raises(UserError, match="no space"), run:
                for _ in run.epochs():
                    pass
    train(tmp_path / "run", num_epochs=3)
    assert kept(tmp_path / "run") == kept(workdir)


def test_events_that_were_cut_short_are_removed(finished, train, tmp_path):
    _, workdir, _ = finished
    train(tmp_path / "run", num_epochs=2)
    (path,) = (tmp_path / "run" / "tensorboard").glob("events.*")
    path.write_bytes(path.read_bytes() + b"\x40\0\0\0\0")
    train(tmp_path / "run", num_epochs=3)
    assert kept(tmp_path / "run") == kept(workdir)


def test_events_say_where_a_process_began(train, tmp_path):
    """TensorBoard forgets what earlier files hold from the step of a session's start on."""
    train(tmp_path / "run", num_epochs=1)
    train(tmp_path / "run", num_epochs=2)
    starts = []
    for path in sorted((tmp_path / "run" / "tensorboard").glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            if event.session_log.status == SessionLog.START:
                starts.append(event.step)
            content = content[16 + length :]
    assert starts == [1, 2]


def test_data_are_known_by_their_content_not_their_place(train, idx_folder, tmp_path, monkeypatch):
    train(tmp_path / "run", num_epochs=1)
    shutil.copytree(idx_folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    run = train(tmp_path / "run", "--dataset", "idx:copy/", num_epochs=2)
    assert len(run.history) == 2
    assert json.loads((tmp_path / "run" / "config.json").read_text())["dataset"] == "idx:copy/"

    with pytest.raises(
        UserError, match=r"dataset idx:copy/ there, idx:.* here; dataset_fingerprint"
    ):
        train(tmp_path / "run", "--resolution", "7", "--dataset", f"idx:{idx_folder}")


def test_a_tilde_is_the_home_directory(train, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = train("~/run", num_epochs=1)
    assert run.workdir == tmp_path / "run"
    assert (tmp_path / "run" / "summary.json").exists()


def test_without_pictures_a_run_draws_none_and_is_otherwise_the_same(finished, start, tmp_path):
    _, workdir, _ = finished
    with start(tmp_path / "run", "--no-pictures", num_epochs=3) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()
    assert not (tmp_path / "run" / "images").exists()
    assert records(tmp_path / "run") == records(workdir)


def test_a_finished_run_is_left_as_it_is(train, tmp_path):
    train(tmp_path / "run", num_epochs=1)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    train(tmp_path / "run", num_epochs=1)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_another_configuration_is_refused_by_name_and_overwritten_on_demand(start, train, tmp_path):
    train(tmp_path / "run", num_epochs=2)
    before = (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(UserError, match=r"beta 1\.0 there, 2\.0 here.*--overwrite"):
        start(tmp_path / "run", "--beta", "2")
    with pytest.raises(UserError, match="seed 0 there, 1 here"):
        start(tmp_path / "run", "--seed", "1")
    with pytest.raises(UserError, match="holds 2 epochs, more than --num-epochs 1"):
        start(tmp_path / "run", num_epochs=1)
    assert (tmp_path / "run" / "config.json").read_text() == before

    run = train(tmp_path / "run", "--beta", "2", "--overwrite", num_epochs=1)
    assert len(run.history) == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["beta"] == 2.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num-epochs -1", "--num-epochs"),
        ("--num-epochs 0", "--num-epochs"),
        ("--batch-size 0", "batch_size"),
        ("--batch-size -3", "batch_size"),
        ("--batch-size 41", "--batch-size 41 exceeds the 40"),
        ("--num-examples 10", "--batch-size 16 exceeds the 10"),
        ("--num-examples 0", "--num-examples to be a whole number from 1 to 40"),
        ("--num-examples 41", "--num-examples to be a whole number from 1 to 40"),
        ("--learning-rate nan", "learning_rate"),
        ("--learning-rate -0.1", "learning_rate"),
        ("--latent-size 0", "latent_size"),
        ("--beta -1", "beta"),
        ("--seed -1", "--seed"),
        ("--seed 4294967296", "--seed"),
        ("--image-shape 28 28 1", "--image-shape"),
        ("--image-shape 28 28 1 --resolution 8", "contradicts --resolution 8"),
        ("--init-from nowhere", "nowhere"),
        ("--resolution 0", "resolution"),
        ("--dataset mnits", "mnist"),
        ("--dataset idx:nowhere", "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(words, message, start, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        runs.command(lambda: start(tmp_path / "run", *words.split()))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_an_unwritable_workdir_is_named(start, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run.*--workdir"):
        start(tmp_path / "file" / "run")


def test_a_folder_that_is_no_run_is_not_touched(start, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for words in ([], ["--overwrite"]):
        with pytest.raises(UserError, match="not empty"):
            start(tmp_path, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_diverging_run_stops_with_its_last_good_epoch(start, tmp_path):
    run = start(tmp_path / "run", "--learning-rate", "1e30", num_epochs=9)
    with pytest.raises(UserError, match=r"train/\w+.*became (nan|inf|-inf) in epoch .*learning"):
        with run:
            for _ in run.epochs():
                pass
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        found = checkpoints.restore_latest(run.learner.init(jax.random.key(0)))
    assert (found.metadata["epoch"] if found else 0) == len(run.history)


def test_a_terminal_sees_a_progress_bar(start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with start(tmp_path / "run", num_epochs=1) as run:
        for _ in run.epochs():
            pass
    assert "images/s" in capsys.readouterr().err


def gan_start(idx_folder, workdir, num_epochs=2):
    small = "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4".split()
    small += "--num-critic-steps 2 --learning-rate 1e-3".split()
    args = ["--dataset", f"idx:{idx_folder}", "--workdir", str(workdir), *small]
    return runs.start(systems.wgan_mnist, num_epochs=num_epochs, args=args)


@pytest.mark.slow
def test_looking_every_few_steps_changes_nothing(idx_folder, tmp_path):
    """40 images in steps of 8: five steps an epoch, looked at after steps 3, 6 and 9."""
    seen = []

    def look(state, step, metrics):
        assert int(state.step) == step
        seen.append((step, metrics))

    with gan_start(idx_folder, tmp_path / "looked") as looked:
        for _ in looked.epochs(every=3, watch=look):
            pass
    assert [step for step, _ in seen] == [3, 6, 9]
    assert looked.learner.epoch._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    with gan_start(idx_folder, tmp_path / "whole") as whole:
        for _ in whole.epochs():
            pass
    # The same program, but compiled with the number of steps known: not the same bits for sure.
    for a, b in zip(leaves(looked), leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for a, b in zip(records(tmp_path / "looked"), records(tmp_path / "whole"), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-6)
    _, steps = looked.learner.epoch(
        looked.learner.init(looked.key("init")),
        looked.dataset.train.images,
        looked.key("train", 1),
        start=0,
        stop=5,
    )
    first = np.mean(np.asarray(steps["generator_loss"])[:3])
    assert seen[0][1]["generator_loss"] == pytest.approx(float(first), rel=1e-5)


@pytest.mark.slow
def test_a_resumed_run_is_looked_at_at_the_same_steps(idx_folder, tmp_path):
    steps = []
    for num_epochs in (1, 2):
        with gan_start(idx_folder, tmp_path / "run", num_epochs) as run:
            for _ in run.epochs(every=3, watch=lambda state, step, metrics: steps.append(step)):
                pass
    assert steps == [3, 6, 9]
    with gan_start(idx_folder, tmp_path / "straight") as straight:
        for _ in straight.epochs(every=3, watch=lambda *_: None):
            pass
    for a, b in zip(leaves(run), leaves(straight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_left_before_its_first_epoch_has_no_results(start, train, tmp_path, capsys):
    with start(tmp_path / "run"):
        pass
    assert "no epoch was trained" in capsys.readouterr().out
    assert not (tmp_path / "run" / "summary.json").exists()
    assert train(tmp_path / "run").epoch == 2
