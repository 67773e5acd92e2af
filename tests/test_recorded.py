"""The files of a run are checked before anything relies on them."""

import json
import os

import pytest

from jaxgen.errors import UserError
from jaxgen.runs import recorded
from jaxgen.runs.workdir import Workdir

CONFIG = {
    "system": "vae_mnist",
    "dataset": "mnist",
    "num_epochs": 3,
    "num_examples": None,
    "seed": 0,
    "versions": {},
}
RECORD = {"epoch": 1, "step": 5, "seconds": 0.5, "train/loss": 1.0}


@pytest.mark.parametrize("name", [*recorded.REQUIRED, *recorded.OPTIONAL])
@pytest.mark.parametrize("value", [True, {"a": [1]}, ["x"], 1.5, "text"])
def test_an_entry_of_another_type_is_named(name, value, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    assert recorded.read_config(tmp_path) == CONFIG
    file.write_text(json.dumps(CONFIG | {name: value}))
    types = (recorded.REQUIRED | recorded.OPTIONAL)[name]
    if type(value) in types:
        assert recorded.read_config(tmp_path)[name] == value
    else:
        with pytest.raises(UserError, match=rf"config.json is damaged \(expected {name} to be"):
            recorded.read_config(tmp_path)


@pytest.mark.parametrize("name", recorded.REQUIRED)
def test_a_missing_entry_is_named(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({k: CONFIG[k] for k in CONFIG if k != name}))
    with pytest.raises(UserError, match=f"expected {name} to be .*, found nothing"):
        recorded.read_config(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"epoch": 1, "step": 5}, "a line has no seconds"),
        (RECORD | {"train/loss": "1"}, "expected train/loss to be a number"),
        (RECORD | {"epoch": [1]}, "expected epoch to be a number"),
        (RECORD | {"step": True}, "expected step to be a number"),
        ([1, 2], "metrics.jsonl is damaged"),
    ],
)
def test_a_damaged_record_is_refused(line, said, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(json.dumps(RECORD) + "\n")
    assert recorded.read_records(tmp_path) == [RECORD]
    file.write_text(json.dumps(RECORD) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(UserError, match=said):
        recorded.read_records(tmp_path)


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(RECORD) + '\n{"epoch": 2, "st')
    assert recorded.read_records(tmp_path) == [RECORD]


def test_a_record_is_on_disk_when_it_was_appended(tmp_path, monkeypatch):
    sync, synced = os.fsync, []

    def noted(descriptor):
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    workdir = Workdir(tmp_path / "run", CONFIG, False)
    workdir.begin(0)
    monkeypatch.setattr(os, "fsync", noted)
    workdir.append(RECORD)
    workdir.close()
    status = (tmp_path / "run" / "metrics.jsonl").stat()
    assert (status.st_ino, status.st_size) in synced
