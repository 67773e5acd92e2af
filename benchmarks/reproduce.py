"""Trains and evaluates every row of docs/results.md, as a user would.

    python benchmarks/reproduce.py --output DIR [--rows vae_mnist ...] [--minutes M] [--parallel P]
    python benchmarks/reproduce.py --keep DIR      # its records -> benchmarks/results
    python benchmarks/reproduce.py --report        # the records -> docs/results.md, README.md

The first command runs `jaxgen train` and `jaxgen evaluate` for each row and seed, and writes one
record.json per run as soon as it is evaluated. A run that is done is left out; one that was stopped
resumes. After M minutes the runs in progress are stopped, evaluated as they are, and recorded with
the share of their length that they reached.

`--parallel P` runs P rows at once: on a GPU, one process compiles or evaluates while another
trains. The PyTorch twins need the cores and not the GPU, and have `--twins-parallel` processes of
their own.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.reproducing import runs  # noqa: E402
from benchmarks.reproducing.rows import ANIMALS, Row, chosen  # noqa: E402

RESULTS = measuring.RESULTS / "reproduced.json"
GRACE_SECONDS = 75.0  # for the evaluation of what the time stopped


def in_order(rows: list[Row]) -> list[tuple[Row, int]]:
    """Rows and seeds by priority; seeds of one row apart, so that the later find it compiled."""
    return [
        (row, seed)
        for rows_at_once in (rows[:4], rows[4:])
        for turn in range(3)
        for row in rows_at_once
        for seed in row.seeds[turn : turn + 1]
    ]


def reproduce(place: runs.Place, rows: list[Row], twins: int, deadline: runs.Deadline) -> None:
    """Makes all runs, several at once."""
    jobs = in_order(rows)
    own = [job for job in jobs if not (twins and job[0].twin)]
    others = [job for job in jobs if twins and job[0].twin]
    start, lock = time.monotonic(), threading.Lock()

    def work(queue: list[tuple[Row, int]]) -> None:
        while True:
            with lock:
                if not queue:
                    return
                row, seed = queue.pop(0)
            outcome = runs.reproduce(place, row, seed, deadline)
            minutes = (time.monotonic() - start) / 60
            print(f"{minutes:5.1f} min  {row.name}, seed {seed}: {outcome}", flush=True)

    threads = [
        threading.Thread(target=work, args=(queue,), daemon=True)
        for queue, number in ((own, place.parallel), (others, twins))
        for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        runs.stop_all()
        for thread in threads:
            thread.join()


def keep(output: Path) -> None:
    """Adds the records below a folder to benchmarks/results/reproduced.json."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for path in sorted(output.rglob("record.json")):
        record = json.loads(path.read_text())
        if record["tried_out"] or not record["evaluations"]:
            why = "only tried out" if record["tried_out"] else "not evaluated"
            print(f"{record['row']}, seed {record['seed']}: {why}, left out")
            continue
        kept[f"{record['row']}/{record['seed']}"] = record
    measuring.write(RESULTS, dict(sorted(kept.items())))


def main() -> None:
    """Reproduces, keeps, or reports."""
    parser = argparse.ArgumentParser(description="Reproduces the rows of docs/results.md.")
    parser.add_argument("--output", type=Path, help="folder of the runs")
    parser.add_argument("--rows", nargs="+", help="names of rows (default: all)")
    parser.add_argument("--data-dir", type=Path, help="where prepared data sets live")
    parser.add_argument("--animals", type=Path, help="folder of photographs, for vae_animals")
    parser.add_argument("--minutes", type=float, help="stop training after so many minutes")
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE_SECONDS,
        help="seconds after that for evaluations (default: %(default)s)",
    )
    parser.add_argument("--parallel", type=int, default=1, help="runs at once")
    parser.add_argument("--twins-parallel", type=int, default=0, help="PyTorch twins besides them")
    parser.add_argument("--num-epochs", type=int, help="at most so many, to try it out")
    parser.add_argument("--num-examples", type=int, help="so few images, to try it out")
    parser.add_argument("--keep", type=Path, help="add the records of this folder")
    parser.add_argument("--report", action="store_true", help="write the tables")
    given = parser.parse_args()
    if given.keep:
        keep(given.keep)
    if given.report:
        from benchmarks.reproducing import report

        report.write(json.loads(RESULTS.read_text()))
    if given.output:
        rows = chosen(given.rows)
        if given.animals is None and any(row.dataset == ANIMALS for row in rows):
            print("vae_animals is left out: name a folder of photographs with --animals")
            rows = [row for row in rows if row.dataset != ANIMALS]
        place = runs.Place(
            given.output.resolve(),
            given.data_dir and given.data_dir.resolve(),
            given.animals and given.animals.resolve(),
            given.parallel,
            given.num_epochs,
            given.num_examples,
        )
        deadline = runs.Deadline(given.minutes, given.grace)
        reproduce(place, rows, given.twins_parallel, deadline)


if __name__ == "__main__":
    main()
