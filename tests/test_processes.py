"""One run in two processes over loopback: the same numbers, one writer, and what ends it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import processes
from jaxgen.runs.processes import Place

RUN = """
import sys
from jaxgen import _commands, runs
runs.command(lambda: _commands.run(sys.argv[1:]))
"""
# Counts the pictures that a process decodes.
COUNTING = """
import atexit, sys
from jaxgen.data.readers import folder_stream
count, original = [0], folder_stream.decode_picture
def decode_picture(*args, **keywords):
    count[0] += 1
    return original(*args, **keywords)
folder_stream.decode_picture = decode_picture
atexit.register(lambda: print("pictures read:", count[0], file=sys.stderr))
"""
SYSTEMS = {
    "vae_mnist": "--hidden-sizes 6 --latent-size 2 --batch-size 8",
    "vae_batchnorm_mnist": "--hidden-sizes 6 5 --latent-size 2 --batch-size 8 --learning-rate 1e-5",
    "wgan_mnist": "--generator-sizes 6 --critic-sizes 5 --latent-size 2 --batch-size 4 "
    "--num-critic-steps 2 --ema-decay 0.9",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, idx_folder, workdir, num_epochs, *words):
    """A process that trains."""
    command = [sys.executable, "-c", RUN, "train", name, *SYSTEMS[name].split(), *words]
    command += ["--num-epochs", str(num_epochs), "--dataset", f"idx:{idx_folder}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, "--workdir", str(workdir)], stdout=pipe, stderr=pipe, text=True
    )


def start_two(name, idx_folder, workdir, num_epochs, words=((), ())):
    port, own = free_port(), [workdir, workdir.with_name("elsewhere")]
    return [
        start(
            *(name, idx_folder, own[i], num_epochs, "--coordinator", f"127.0.0.1:{port}"),
            *("--num-processes", "2", "--process-id", str(i), *words[i]),
        )
        for i in (0, 1)
    ]


def ended(process):
    out, errors = process.communicate(timeout=200)
    return process.returncode, out, errors


def assert_near(workdir, other, name):
    run, one = runs.load(workdir), runs.load(other)
    assert len(run.history) == len(one.history)
    for record, expected in zip(run.history, one.history, strict=True):
        for metric in expected.keys() - {"seconds"}:
            if metric.endswith("loss"):
                atol = 1e-4 if name == "wgan_mnist" else 0.0  # differences that nearly cancel
                np.testing.assert_allclose(
                    record[metric], expected[metric], rtol=1e-5, atol=atol, err_msg=metric
                )


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_two_processes_train_what_one_does(name, idx_folder, tmp_path):
    code, _, errors = ended(start(name, idx_folder, tmp_path / "one", 4))
    assert code == 0, errors
    (code, out, errors), (other_code, other_out, other_errors) = map(
        ended, start_two(name, idx_folder, tmp_path / "two", 4)
    )
    assert (code, other_code) == (0, 0), errors + other_errors
    assert "2 devices" in out
    assert "epoch" not in other_out  # said once
    assert not (tmp_path / "elsewhere").exists()  # written once
    assert_near(tmp_path / "two", tmp_path / "one", name)
    files = {path.name for path in (tmp_path / "one" / "images").iterdir()}
    assert {path.name for path in (tmp_path / "two" / "images").iterdir()} == files


@pytest.mark.slow
def test_each_process_reads_its_part_of_a_stream(tmp_path):
    """Pictures are opened by the process whose devices need them, but for the ragged last batch."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 36), ("test", 8)):
        (tmp_path / "set" / split / "a").mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / split / "a" / f"{i:03d}.png")
    flags = ["--dataset", f"folder:{tmp_path / 'set'}", "--resolution", "8", "--batch-size", "8"]
    flags += ["--channels", "4", "--no-pictures", "--num-epochs", "2", "--stream"]
    code = COUNTING + RUN
    port, processes_ = free_port(), []
    for i in (0, 1, None):
        words = [sys.executable, "-c", code, "train", "vae_flowers", *flags]
        if i is not None:
            words += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"]
            words += ["--process-id", str(i)]
        words += ["--workdir", str(tmp_path / ("one" if i is None else "two"))]
        pipe = subprocess.PIPE
        processes_.append(subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True))
    results = [ended(process) for process in processes_]
    assert [code for code, _, _ in results] == [0, 0, 0], [errors for _, _, errors in results]
    read = [int(re.findall(r"pictures read: (\d+)", errors)[-1]) for _, _, errors in results]
    # Of each epoch four batches of 8 are divided, and the last 4 images are not.
    assert read[2] >= 2 * 36
    assert read[0] == read[1] <= read[2] - 2 * 16
    assert_near(tmp_path / "two", tmp_path / "one", "vae_flowers")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_the_run_resumes(victim, idx_folder, tmp_path):
    straight = start("vae_mnist", idx_folder, tmp_path / "one", 300, "--no-pictures")
    assert ended(straight)[0] == 0
    run = tmp_path / "two"
    two = start_two("vae_mnist", idx_folder, run, 300, [["--no-pictures"]] * 2)
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text()) < 2000:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    two[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    code, _, errors = ended(two[1 - victim])
    assert time.monotonic() - began < 30
    ended(two[victim])
    if code == 2:
        assert "error: another process of this run has ended" in errors
        assert "Traceback" not in errors
    else:  # JAX's coordination service noticed first, and aborts the process
        assert code == -signal.SIGABRT, errors
        assert "another task died" in errors
    # On another number of processes and devices.
    code, out, errors = ended(
        start("vae_mnist", idx_folder, run, 300, "--no-pictures", "--devices", "4")
    )
    assert code == 0, errors
    assert "resuming after epoch" in out
    assert_near(run, tmp_path / "one", "vae_mnist")


@pytest.mark.slow
def test_a_run_of_one_process_resumes_in_two(idx_folder, tmp_path):
    assert ended(start("vae_mnist", idx_folder, tmp_path / "one", 3))[0] == 0
    assert ended(start("vae_mnist", idx_folder, tmp_path / "two", 2))[0] == 0
    (code, out, errors), other = map(ended, start_two("vae_mnist", idx_folder, tmp_path / "two", 3))
    assert (code, other[0]) == (0, 0), errors + other[2]
    assert "resuming after epoch 2" in out
    assert_near(tmp_path / "two", tmp_path / "one", "vae_mnist")


@pytest.mark.slow
def test_different_configurations_are_refused(idx_folder, tmp_path):
    words = ["--learning-rate", "0.1"], ["--learning-rate", "0.2"]
    for process in start_two("vae_mnist", idx_folder, tmp_path / "two", 2, words):
        code, _, errors = ended(process)
        assert code == 2
        assert "expected the same learning_rate in every process, got 0.1 in process 0 and 0.2" in (
            errors
        )
    assert not (tmp_path / "two").exists()


def test_a_coordinator_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(processes, "ANSWER_SECONDS", 0.3)
    place = Place(f"127.0.0.1:{free_port()}", 2, 1)
    with pytest.raises(UserError, match=r"a coordinator at .*, got no answer in 0 s"):
        processes.join(place)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place("localhost", 2, 0), "HOST:PORT"),
        (Place("localhost:0", 2, 0), "HOST:PORT"),
        (Place("localhost:1x", 2, 0), "HOST:PORT"),
        (Place("localhost:12", 2, 2), "--process-id to be a whole number from 0 to 1"),
        (Place("localhost:12", 0, 0), "--num-processes"),
        (Place("localhost:12", 2), "all three"),
        (Place(None, 2, 0), "all three"),
        (Place("auto", 2), "alone"),
    ],
)
def test_places_that_make_no_sense_are_refused(place, message):
    with pytest.raises(UserError, match=message):
        processes.join(place)


def test_without_a_cluster_there_is_no_automatic_place():
    words = [sys.executable, "-c", RUN, "train", "vae_mnist", "--coordinator", "auto"]
    clusters = ("SLURM", "OMPI", "KUBERNETES", "JOB_", "TPU")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(clusters)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 2
    assert "where no cluster is found, pass HOST:PORT" in done.stderr.splitlines()[-1]


def test_one_process_decides_alone():
    assert processes.from_first({"a": 1}) == {"a": 1}
    assert json.dumps(processes.state_from_first([1.0])) == "[1.0]"
    processes.check_same({"seed": 0})
