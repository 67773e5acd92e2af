"""The table of degenerate generators in the documentation is that of the recorded results."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))

from benchmarks import degenerate_generators  # noqa: E402

RESULTS = json.loads(degenerate_generators.RESULTS.read_text())


def test_the_table_is_made_from_the_results():
    page = (ROOT / "docs" / "evaluation.md").read_text()
    assert degenerate_generators.table(RESULTS) in page
    assert RESULTS["feature_network"].startswith("jaxgen's MNIST classifier")


def test_each_degenerate_generator_is_told_apart_by_its_number():
    floor, measured = RESULTS["floor"], RESULTS["generators"]
    good = measured["as good as new images"]
    assert abs(good["precision"] - floor["precision"]) < 0.02
    assert abs(good["recall"] - floor["recall"]) < 0.02
    one = measured["repeats one image"]
    assert one["recall"] == 0
    assert one["class_histogram_distance"] > 0.8
    copies = measured["returns training images"]
    assert copies["nearest_training_distance"] == 0 < floor["nearest_training_distance"]
    assert abs(copies["recall"] - floor["recall"]) < 0.02
    border = measured["adds a grey border"]
    assert border["precision"] < 0.1
    assert border["frechet_distance"] > 100 * floor["frechet_distance"]
