"""Keeps the last numbers of finished runs in benchmarks/results/runs.json.

    python benchmarks/collect_runs.py runs/vae_mnist runs/cvae_mnist

For each run: its configuration with versions, device and fingerprint of the data, and its metrics
of the last epoch. The pages in docs/systems show these numbers; tests/test_results.py compares
them. Entries of other systems stay as they are.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
from benchmarks import measuring  # noqa: E402

RESULTS = measuring.RESULTS / "runs.json"


def record(workdir: Path) -> dict[str, object]:
    """Configuration and last metrics of the run in a work directory."""
    config = json.loads((workdir / "config.json").read_text())
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    if last["epoch"] != config["num_epochs"]:
        sys.exit(
            f"{workdir}: {last['epoch']} of {config['num_epochs']} epochs, let it finish first"
        )
    metrics = {name: value for name, value in last.items() if name.startswith(("train/", "test/"))}
    return {"config": config, "metrics": metrics}


def main() -> None:
    """Adds the runs named on the command line."""
    parser = argparse.ArgumentParser(description="Keeps the last numbers of finished runs.")
    parser.add_argument("workdirs", nargs="+", type=Path)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for workdir in parser.parse_args().workdirs:
        entry = record(workdir)
        kept[json.loads((workdir / "config.json").read_text())["system"]] = entry
    measuring.write(RESULTS, dict(sorted(kept.items())))


if __name__ == "__main__":
    main()
