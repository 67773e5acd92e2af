"""jaxgen against PyTorch, step by step: the numbers of the table, made again and held to limits."""

import json
import sys
from pathlib import Path

import pytest
from marks import slow_but

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import pairs, parity  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick_compilation")


def hold(row):
    """The tolerances, on a row of parity.json."""
    single, double = row["float32"], row["float64"]
    assert single["output"] < 1e-5
    assert single["loss"] < 1e-5
    assert single["gradient"] < 1e-4
    assert single["statistics"] < 1e-5
    assert max(double.values()) < 1e-10
    assert row["float64_raised"] < 1e-10
    assert single["weights"] < 1e-4


@pytest.mark.parametrize("name", slow_but(("vae_mnist",), pairs.SMALL))
def test_jaxgen_is_pytorch(name):
    row = parity.measure(name, pairs.SMALL[name])
    hold(row._asdict() | {"float32": row.float32._asdict(), "float64": row.float64._asdict()})


def test_the_table_in_the_documentation_is_held_to_the_same_limits():
    rows = json.loads(parity.RESULTS.read_text())["rows"]
    assert set(rows) == set(pairs.SMALL)
    for row in rows.values():
        hold(row)
    page = Path(__file__).parents[1] / "docs" / "parity.md"
    assert parity.table(rows) in page.read_text()
