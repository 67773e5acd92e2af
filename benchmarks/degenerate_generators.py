"""What the measures of sample quality say about generators that are wrong in a known way.

    python benchmarks/degenerate_generators.py [--data-dir DIR]

writes benchmarks/results/degenerate_generators.json, and prints the table of docs/evaluation.md.
Each generator gives 5,000 images, compared with 5,000 test images of MNIST.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jaxgen import data, evaluation
from jaxgen._files import replacing

RESULTS = Path(__file__).parent / "results" / "degenerate_generators.json"
NUM_IMAGES = 5000
BORDER = 2  # pixels of grey
COLUMNS = {
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "classifier_score": "classifier score",
    "class_histogram_distance": "class histogram",
    "nearest_training_distance": "nearest training image",
}


def generators(train: np.ndarray, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> images: `held_out` stands for a perfect generator, as nothing else has seen it."""
    bordered = held_out.copy()
    for side in (
        np.s_[:, :BORDER],
        np.s_[:, -BORDER:],
        np.s_[:, :, :BORDER],
        np.s_[:, :, -BORDER:],
    ):
        bordered[side] = 128
    return {
        "as good as new images": held_out,
        "repeats one image": np.repeat(held_out[:1], len(held_out), axis=0),
        "returns training images": train[: len(held_out)],
        "adds a grey border": bordered,
    }


def table(results: dict) -> str:
    """The results as Markdown."""
    lines = ["| generator | " + " | ".join(COLUMNS.values()) + " |"]
    lines.append("|---" * (1 + len(COLUMNS)) + "|")
    rows = {"floor: training images": results["floor"]} | results["generators"]
    for name, measures in rows.items():
        cells = [f"{measures[column]:.3g}" for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures every generator."""
    parser = argparse.ArgumentParser(description="Measure degenerate generators.")
    parser.add_argument("--data-dir")
    dataset = data.load("mnist", parser.parse_args().data_dir)
    order = np.random.default_rng(0).permutation(len(dataset.train.images))
    train = dataset.train.images[order[NUM_IMAGES:]]
    test = dataset.test.images[np.random.default_rng(1).permutation(10_000)[:NUM_IMAGES]]
    network = evaluation.classifier("mnist")
    results: dict = {"feature_network": network.name, "num_images": NUM_IMAGES, "generators": {}}
    for name, images in generators(train, dataset.train.images[order[:NUM_IMAGES]]).items():
        report = evaluation.sample_quality(images, train, test, network)
        results["generators"][name] = report["samples"]
        results["floor"] = report["floor"]
    with replacing(RESULTS) as path:
        path.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
