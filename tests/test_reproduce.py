"""The published results: rows, runs, records, and the tables that are made from them."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reproduce
from benchmarks.reproducing import packing, report, rows, runs
from jaxgen import data, systems
from jaxgen._published import PUBLISHED
from jaxgen.data.storage import fetch
from jaxgen.runs import flags

RECORDS = json.loads(reproduce.RESULTS.read_text()) if reproduce.RESULTS.is_file() else {}


# ---- rows


@pytest.mark.parametrize("row", [row for row in rows.ROWS if not row.twin], ids=lambda r: r.name)
def test_the_command_of_a_row_is_one_that_train_understands(row: rows.Row):
    words = runs.train_words(row, row.num_epochs, 1)
    assert words[:3] == ["jaxgen", "train", row.system]
    system, published = getattr(systems, row.system), PUBLISHED[row.system]
    parsed = flags.parse(system, num_epochs=1, args=words[3:])
    assert (parsed.num_epochs, parsed.seed) == (row.num_epochs, 1)
    if not row.flags:  # then it is trained as it was published
        assert parsed.hyperparameters == flags.parse(system, num_epochs=1, args=[]).hyperparameters
        assert row.num_epochs == (3280 if row.name == "burda_iwae_50" else published.num_epochs)


def test_every_trained_system_has_a_row():
    assert {row.system for row in rows.ROWS} == set(PUBLISHED) - {"autoencoder_mnist"}
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)


def test_rows_are_made_by_priority_with_the_seeds_of_a_row_apart():
    jobs = [(row.name, seed) for row, seed in reproduce.in_order(list(rows.ROWS))]
    assert len(jobs) == len(set(jobs)) == sum(len(row.seeds) for row in rows.ROWS)
    assert jobs[:5] == [(row.name, 0) for row in rows.ROWS[:4]] + [("vae_mnist", 1)]
    assert jobs.index(("cvae_mnist", 2)) < jobs.index(("static_400_40", 0))


def test_a_row_that_does_not_exist_is_refused():
    with pytest.raises(SystemExit, match=r"expected --rows among vae_mnist, .*; got vae_minst"):
        rows.chosen(["vae_minst"])


# ---- runs

ROW = rows.Row("row", "vae_mnist", 4, (0,), "likelihood", num_samples=(50, 7))
# Stands for `jaxgen train`: it resumes, and leaves with 143 after SIGTERM. With "stalled" its third
# epoch does not end.
TRAIN = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text('{"dataset": "folder:/here", "data_dir": "/there"}')
path = folder / "metrics.jsonl"
done = len(path.read_text().splitlines()) if path.exists() else 0
for epoch in range(done + 1, 5):
    assert sys.argv[2] != "broken", "a word of the log"
    time.sleep(60 if sys.argv[2] == "stalled" and epoch == 3 else 0)
    entry = {"epoch": epoch, "seconds": 0.5, "train/loss": 9.0 - epoch, "test/loss": 9.5 - epoch}
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\\n")
"""
EVALUATE = """
import pathlib, sys
(pathlib.Path(sys.argv[1]) / "evaluation.json").write_text(
    '{"dataset": "x", "likelihood": {"num_samples": %s}}' % sys.argv[2])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Place:
    pace = tmp_path / "pace"
    pace.write_text("quick")

    def train(place: runs.Place, row: rows.Row, seed: int, workdir: Path) -> list[str]:
        return [sys.executable, "-c", TRAIN, str(workdir), pace.read_text()]

    def evaluate(place: runs.Place, row: rows.Row, workdir: Path, number: int) -> list[str]:
        return [sys.executable, "-c", EVALUATE, str(workdir), str(number)]

    monkeypatch.setattr(runs, "_train_command", train)
    monkeypatch.setattr(runs, "_evaluate_command", evaluate)
    return runs.Place(tmp_path, None, None, 1)


def record_of(place: runs.Place) -> dict:
    return json.loads((place.output / "row" / "seed-0" / "record.json").read_text())


def test_a_run_is_recorded_once(place: runs.Place):
    deadline = runs.Deadline(None, 0)
    assert runs.reproduce(place, ROW, 0, deadline).startswith("4 of 4 epochs, 2 evaluations")
    record = record_of(place)
    assert (record["finished"], record["share"], record["tried_out"]) == (True, 1.0, False)
    assert record["metrics"]["test/loss"] == 5.5
    assert [point["train/loss"] for point in record["curve"]] == [8.0, 7.0, 6.0, 5.0]
    numbers = {k: e["likelihood"]["num_samples"] for k, e in record["evaluations"].items()}
    assert numbers == {"50": 50, "7": 7}
    assert record["seconds"]["epochs"] == 2.0
    assert record["command"] == "jaxgen train vae_mnist --dataset mnist --num-epochs 4 --seed 0"
    assert record["config"] == {"dataset": "folder"}  # without the paths of a machine
    assert str(place.output) not in json.dumps(record)
    assert runs.reproduce(place, ROW, 0, deadline) == "done before"


def test_a_run_that_the_time_stops_is_recorded_with_its_share_and_resumes(place: runs.Place):
    (place.output / "pace").write_text("stalled")
    runs.reproduce(place, ROW, 0, runs.Deadline(2 / 60, 30))
    record = record_of(place)
    assert (record["epochs"], record["share"], record["finished"]) == (2, 0.5, False)
    assert len(record["evaluations"]) == 2
    before = record["seconds"]["training"]
    (place.output / "pace").write_text("quick")
    runs.reproduce(place, ROW, 0, runs.Deadline(None, 0))
    record = record_of(place)
    assert (record["finished"], record["epochs"]) == (True, 4)
    assert record["seconds"]["training"] > before
    assert [point["epoch"] for point in record["curve"]] == [1, 2, 3, 4]


def test_a_run_that_fails_leaves_no_record(place: runs.Place):
    (place.output / "pace").write_text("broken")
    outcome = runs.reproduce(place, ROW, 0, runs.Deadline(None, 0))
    assert outcome.startswith("training failed with exit code 1: see ")
    assert "a word of the log" in (place.output / "row" / "seed-0" / "log.txt").read_text()
    assert not (place.output / "row" / "seed-0" / "record.json").exists()


def test_nothing_begins_when_the_time_is_over(place: runs.Place):
    deadline = runs.Deadline(0, 30)
    time.sleep(0.01)
    assert runs.reproduce(place, ROW, 0, deadline) == "not begun: the time is over"


def test_a_try_out_is_not_kept(place: runs.Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reproduce, "RESULTS", place.output / "kept.json")
    runs.reproduce(place._replace(num_examples=100), ROW, 0, runs.Deadline(None, 0))
    reproduce.keep(place.output)
    assert json.loads((place.output / "kept.json").read_text()) == {}
    runs.reproduce(place, ROW._replace(name="other"), 3, runs.Deadline(None, 0))
    reproduce.keep(place.output)
    assert list(json.loads((place.output / "kept.json").read_text())) == ["other/3"]


def test_curves_keep_their_last_point():
    history = [{"epoch": epoch, "seconds": 1.0, "test/loss": -epoch} for epoch in range(1, 138)]
    curve = runs._thinned(history)
    assert len(curve) <= runs.CURVE_POINTS + 1
    assert curve[-1]["epoch"] == 137
    assert [point["epoch"] for point in curve[:3]] == [3, 6, 9]


# ---- data sets for another machine


def test_a_packed_set_is_the_same_after_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draws = np.random.default_rng(0)
    train, test = draws.integers(0, 256, (7, 28, 28, 1), np.uint8), np.zeros((2, 28, 28, 1))
    given = data.from_arrays(train, np.arange(7), test.astype(np.uint8), np.arange(2))
    monkeypatch.setattr(packing, "SETS", (packing.Packed("mnist"),))
    monkeypatch.setattr(fetch, "fetch", lambda name: given.splits)
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "here"))
    packing.pack(tmp_path / "packed", tmp_path / "nothing")

    def unreachable(name: str) -> None:
        raise AssertionError("the set was looked for elsewhere")

    monkeypatch.setattr(fetch, "fetch", unreachable)
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "there"))
    packing.unpack(tmp_path / "packed", tmp_path / "nothing")
    found = data.load("mnist", tmp_path / "nothing")
    assert found.fingerprint == given.fingerprint
    np.testing.assert_array_equal(found.train.images, train)
    np.testing.assert_array_equal(found.train.labels, np.arange(7))


@pytest.mark.parametrize(("values", "channels"), [((0, 255), 1), ((0, 7, 255), 1), ((0, 9), 3)])
def test_a_sheet_keeps_every_pixel(values: tuple[int, ...], channels: int):
    images = np.random.default_rng(1).choice(np.array(values, np.uint8), (5, 6, 4, channels))
    found = packing.images_of(packing.sheet(images), images.shape)
    np.testing.assert_array_equal(found, images)


# ---- tables


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_pages_show_what_the_records_say(page: Path):
    text = page.read_text()
    assert text == report.filled(text, RECORDS)


def test_records_are_whole():
    for name, record in RECORDS.items():
        row = next(row for row in rows.ROWS if row.name == record["row"])
        assert name == f"{row.name}/{record['seed']}"
        assert record["seed"] in row.seeds
        assert not record["tried_out"]
        assert record["share"] == record["epochs"] / row.num_epochs <= 1
        assert record["metrics"]["epoch"] == record["epochs"] == record["curve"][-1]["epoch"]
        assert record["evaluations"]
        assert "/" not in record["config"]["dataset"]


def made(name: str, seed: int, epochs: int, loss: float, log_likelihood: float) -> dict:
    likelihood = {"log_likelihood": log_likelihood, "num_samples": 5000, "standard_error": 0.25}
    return {
        "row": name,
        "seed": seed,
        "epochs": epochs,
        "command": f"jaxgen train {name} --seed {seed}",
        "metrics": {"train/loss": loss, "test/loss": loss + 1},
        "evaluations": {"default": {"likelihood": likelihood}},
        "seconds": {"training": 90.0},
        "machine": {"processor": "Abacus", "accelerator": None},
        "config": {"device": {"platform": "cpu"}},
    }


def test_a_row_is_mean_and_deviation_over_its_seeds():
    records = {
        str(seed): made("vae_binarized_mnist", seed, 20, loss, -80.0)
        for seed, loss in enumerate((84.0, 85.0, 87.0))
    }
    line = report.likelihoods(records).splitlines()[2]
    # mean 256/3, deviation sqrt(((4/3)² + (1/3)² + (5/3)²) / 2)
    assert line == (
        "| vae_binarized_mnist | threshold at 0.5 | 3 | 20 | 85.33 ± 1.53 | 86.33 ± 1.53 | "
        "-80.00 ± 0.000 (K = 5,000, standard error 0.250) | "
        "train negative ELBO 85.0 (the PyTorch original) |"
    )
    assert "`jaxgen train vae_binarized_mnist --seed SEED` | 1.50 ± 0.000 | Abacus" in (
        report.costs(records)
    )


def test_a_row_says_which_share_of_its_length_it_reached():
    records = {"x": made("burda_vae", 0, 41, 90.0, -88.0)}
    assert "| 41 of 3280 (1.2%) |" in report.likelihoods(records)
