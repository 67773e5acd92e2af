"""Numbers on the pages of the systems come from committed records of runs."""

import inspect
import json
import re
from pathlib import Path

import pytest

from benchmarks.reproducing import report
from jaxgen import systems
from jaxgen.runs.references import OWN, OWN_SEED, REFERENCES, references_of

ROOT = Path(__file__).parents[1]
RUNS = json.loads((ROOT / "benchmarks" / "results" / "runs.json").read_text())


def page(system: str) -> str:
    return (ROOT / "docs" / "systems" / f"{system}.md").read_text()


def rows(system: str) -> dict[str, tuple[str, str]]:
    """The rows of the table of results: name -> (train, held out)."""
    text = page(system).partition("| | train | held out |")[2].split("\n\n")[0]
    found = re.findall(r"^\| ([\w ']+) \| (\S*) \| (\S*) \|$", text, re.MULTILINE)
    return {name: (train, test) for name, train, test in found}


@pytest.mark.parametrize("system", systems.__all__)
def test_every_system_has_a_page(system: str):
    text = page(system)
    assert text.startswith(f"# {system}\n")
    for heading in ("## Model", "## Train", "## Results", "## Differences from the source"):
        assert heading in text
    assert f"experiments/{system}.py" in text
    assert "```math" in text or "The loss of [" in text


@pytest.mark.parametrize("system", systems.__all__)
def test_numbers_on_the_pages_come_from_records(system: str):
    table = rows(system)
    assert bool(table) == (system in RUNS)
    if table:
        metrics = RUNS[system]["metrics"]
        kept = {
            name: tuple(f"{metrics[f'{split}/{name.lower()}']:.2f}" for split in ("train", "test"))
            for name in table
        }
        assert table == kept


@pytest.mark.parametrize("system", RUNS)
def test_records_are_of_the_published_configuration(system: str):
    config = RUNS[system]["config"]
    assert config["system"] == system
    assert config["seed"] == 0
    assert config["num_examples"] == {"mnist": 60_000}.get(config["dataset"], 1_020)
    assert f"{config['num_epochs']} epochs" in page(system)
    published = inspect.signature(getattr(systems, system)).parameters
    for name, parameter in published.items():
        if name in config:
            assert config[name] == json.loads(json.dumps(parameter.default)), name


def test_the_reproduced_results_come_from_records():
    records = json.loads((ROOT / "benchmarks" / "results" / "reproduced.json").read_text())
    assert len(report.PAGES) == 2 + len(systems.__all__)
    for path in report.PAGES:
        text = path.read_text()
        if path.stem == "autoencoder_mnist":
            continue  # no row is of a plain autoencoder
        assert "<!-- results:" in text
        assert text == report.filled(text, records), "run benchmarks/reproduce.py --report"


@pytest.mark.parametrize("system", [name for name in systems.__all__ if name != "vae_animals"])
def test_the_references_on_the_page_of_a_run_come_from_records(system: str):
    """vae_animals has none: everybody's photographs are others."""
    records = json.loads((ROOT / "benchmarks" / "results" / "reproduced.json").read_text())
    found = [record for record in records.values() if record["row"] == system]
    found = found or [RUNS[system]]
    own = [r for r in REFERENCES[system] if r.source in (OWN, OWN_SEED)]
    assert len(own) == 1
    ((metric, value, epoch, source),) = own
    assert (source == OWN) == (len(found) == 3)
    assert {r.get("epochs", r["config"]["num_epochs"]) for r in found} == {epoch}
    mean = sum(record["metrics"][metric] for record in found) / len(found)
    digits = 3 if metric == "test/diversity" else 2
    assert f"{value:.{digits}f}" == f"{mean:.{digits}f}"
    assert references_of(system, "folder:elsewhere") == ()
    name = "tfds:oxford_flowers102" if system.endswith("flowers") else "mnist"
    assert references_of(system, name) == REFERENCES[system]
