"""Trains the PyTorch twin of wgan_mnist or dcgan_mnist, and judges it as jaxgen judges its runs.

    python benchmarks/reproducing/twin.py wgan_mnist --seed 0 --workdir DIR
    python benchmarks/reproducing/twin.py wgan_mnist --judge --workdir DIR

The first command trains for the published number of epochs with PyTorch's own random numbers and
all images in memory, on a GPU where there is one; the many small layers of wgan_mnist are then
replayed as a CUDA graph. SIGTERM ends the training after the current epoch; it does not resume. The
second loads the weights through jaxgen.interop and evaluates them with jaxgen.evaluation.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

EPOCHS = {"wgan_mnist": 200, "dcgan_mnist": 3}
CRITIC_STEPS = {"wgan_mnist": 5, "dcgan_mnist": 1}
BATCH_SIZE = 64
THREADS = 2  # more do not make layers of this size faster


def train(given: argparse.Namespace) -> None:
    """Trains; writes config.json, metrics.jsonl and weights.npz."""
    import torch

    from benchmarks import torch_twins
    from jaxgen import data

    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    torch.set_num_threads(THREADS)
    torch.backends.cudnn.allow_tf32 = False  # float32, as jaxgen's side
    torch.manual_seed(given.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graphed = device == "cuda" and given.system == "wgan_mnist"
    dataset = data.load("mnist", given.data_dir)
    twin: Any = getattr(torch_twins, given.system)
    networks = twin.networks().to(device)
    optimizer = twin.make_optimizer(networks, **({"capturable": True} if graphed else {}))

    def eager(batch: Any) -> Any:
        return twin.train_step(networks, optimizer, batch)

    pixels = torch.from_numpy(dataset.train.images[: given.num_examples]).permute(0, 3, 1, 2)
    images = twin.prepare(pixels.contiguous().float() / 255).to(device)
    critic_steps = CRITIC_STEPS[given.system]
    step = Replayed(eager, critic_steps) if graphed else eager

    given.workdir.mkdir(parents=True, exist_ok=True)
    device_name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    config = {
        "system": given.system,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "num_epochs": given.num_epochs,
        "num_examples": len(images),
        "seed": given.seed,
        "batch_size": BATCH_SIZE,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "device": {"platform": device, "kind": device_name, "threads": THREADS},
    }
    (given.workdir / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    metrics = given.workdir / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    for epoch in range(1, given.num_epochs + 1):
        start = time.perf_counter()
        last = {}
        for rows in torch.randperm(len(images), device=device).split(critic_steps * BATCH_SIZE):
            if len(rows) < BATCH_SIZE:  # a ragged batch is left out, within a step as well
                continue
            batch = images[rows[: len(rows) // BATCH_SIZE * BATCH_SIZE]]
            if critic_steps > 1:
                batch = batch.unflatten(0, (-1, BATCH_SIZE))
            last = step(batch)
        numbers = {f"train/{name}": float(value) for name, value in last.items()}
        entry = {"epoch": epoch, "seconds": round(time.perf_counter() - start, 4), **numbers}
        with metrics.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if stopped:
            break
    weights = torch_twins.state_dicts(twin, networks)
    flat = {
        f"{part}.{name}": tensor.cpu().numpy()
        for part, tensors in weights.items()
        for name, tensor in tensors.items()
    }
    np.savez(given.workdir / "weights.npz", **flat)
    if stopped:
        sys.exit(128 + stopped[0])


class Replayed:
    """A training step that is captured as a CUDA graph after its first calls.

    The calls before are steps like all others: capturing needs buffers and optimizer state to be
    there. Batches of another length are trained on without the graph.
    """

    CALLS_BEFORE = 3

    def __init__(self, step: Callable[[Any], Any], num_batches: int):
        self.step, self.num_batches = step, num_batches
        self.calls = 0
        self.graph: Any = None
        self.images: Any = None
        self.terms: Any = None

    def __call__(self, batch: Any) -> Any:
        """One step on the batch."""
        import torch

        if len(batch) != self.num_batches:
            return self.step(batch)
        self.calls += 1
        if self.calls <= self.CALLS_BEFORE:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                terms = self.step(batch)
            torch.cuda.current_stream().wait_stream(aside)
            return terms
        if self.graph is None:
            self.images, graph = batch.clone(), torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    self.terms = self.step(self.images)
            except RuntimeError as error:
                print(f"no CUDA graph of this step: {error}", flush=True)
                self.num_batches = 0  # no batch is trained on with a graph
                return self.step(batch)
            self.graph = graph
        self.images.copy_(batch)
        self.graph.replay()
        return self.terms


def judge(given: argparse.Namespace) -> None:
    """Writes evaluation.json, images/nearest.png and samples.png, as for a run of jaxgen."""
    import jax

    from jaxgen import data, evaluation, interop, systems
    from jaxgen.visualization import grids

    config = json.loads((given.workdir / "config.json").read_text())
    learner = getattr(systems, given.system)()
    init_key, key = jax.random.split(jax.random.key(config["seed"]))
    with np.load(given.workdir / "weights.npz", allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files}
    state = interop.load_torch(given.system, learner.init(init_key), weights)
    found = evaluation.evaluate(
        learner, state, data.load("mnist", given.data_dir), key, num_images=given.num_images
    )
    epoch = len((given.workdir / "metrics.jsonl").read_text().splitlines())
    about = {"system": given.system, "dataset": "mnist", "seed": config["seed"], "epoch": epoch}
    report = json.dumps(about | found.report, indent=2) + "\n"
    (given.workdir / "evaluation.json").write_text(report)
    pairs = grids.pairs(found.samples, found.neighbours)
    grids.save(given.workdir / "images" / "nearest.png", pairs)


def main() -> None:
    """Trains or judges."""
    parser = argparse.ArgumentParser(description="Trains a PyTorch twin, or judges it.")
    parser.add_argument("system", choices=EPOCHS)
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-epochs", type=int)
    parser.add_argument("--num-examples", type=int)
    parser.add_argument("--num-images", type=int)
    given = parser.parse_args()
    given.num_epochs = given.num_epochs or EPOCHS[given.system]
    (judge if given.judge else train)(given)


if __name__ == "__main__":
    main()
