"""Differences between jaxgen and PyTorch in outputs, losses, gradients and weights.

    python benchmarks/parity.py

prints a table and writes benchmarks/results/parity.json. Both sides get the same weights, images
and noise, and take the same 20 steps with the published optimizers. Each number is the largest
absolute difference in an array divided by the largest absolute value in it, for the array where
this is largest. docs/parity.md explains the table. `--published` uses the full sizes.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import torch_twins, trajectories
from benchmarks.pairs import PUBLISHED, SMALL, Sizes
from benchmarks.trajectories import Arrays, Trajectory, key_of, noise_of, running
from jaxgen.interop.flattening import flatten

RESULTS = Path(__file__).parent / "results" / "parity.json"
NUM_STEPS = 20
BATCH_SIZE = 64
# With the published 1e-8, Adam takes a step of the full learning rate along a gradient that is only
# rounding noise. With this epsilon such a gradient has no effect.
RAISED_EPSILON = 1e-3


class Parity(NamedTuple):
    """The largest relative differences between jaxgen and PyTorch, in one dtype.

    Attributes:
      output: of decoded images and posteriors, in evaluation mode.
      loss: of each loss of the first step.
      gradient: of the first step.
      statistics: BatchNorm's, after the first step; 0 where there are none.
      weights: after the last step, running statistics included.
    """

    output: float
    loss: float
    gradient: float
    statistics: float
    weights: float


class Row(NamedTuple):
    """One system.

    Attributes:
      parameters: how many.
      float32: with the published optimizer.
      float64: the same.
      float64_raised: weights in float64 with RAISED_EPSILON.
    """

    parameters: int
    float32: Parity
    float64: Parity
    float64_raised: float


def measure(name: str, sizes: Sizes, batch_size: int = BATCH_SIZE) -> Row:
    """Runs both sides in both dtypes."""
    start = trajectories.start_of(name, sizes)
    count = NUM_STEPS * trajectories.images_per_step(name, batch_size)
    images = trajectories.images_of(sizes, count)

    def noise(dtype: Any) -> list[np.ndarray]:
        with jax.enable_x64(dtype == np.float64):
            return [noise_of(name, sizes, key_of(i), batch_size, dtype) for i in range(NUM_STEPS)]

    def both(dtype: Any, epsilon: float | None = None) -> tuple[Trajectory, Trajectory]:
        given, options = images.astype(dtype), {"batch_size": batch_size, "epsilon": epsilon}
        got = trajectories.run(name, sizes, start, given, num_steps=NUM_STEPS, **options)
        return got, run(name, sizes, start, given, noise(dtype), **options)

    got, wanted = both(np.float32)
    raised = both(np.float64, RAISED_EPSILON)
    return Row(
        sum(a.size for key, a in got.weights.items() if key not in running(got.weights)),
        compare(got, wanted),
        compare(*both(np.float64)),
        difference(raised[0].weights, raised[1].weights),
    )


def run(
    name: str,
    sizes: Sizes,
    start: dict[str, Any],
    images: np.ndarray,
    noise: list[np.ndarray],
    *,
    batch_size: int,
    epsilon: float | None = None,
) -> Trajectory:
    """Trains the twin, in the dtype of the images; one step for each noise."""
    twin = getattr(torch_twins, name)
    dtype = torch.float64 if images.dtype == np.float64 else torch.float32
    networks = twin.networks(**sizes.twin)
    networks.load_state_dict({key: torch.from_numpy(np.asarray(v)) for key, v in start.items()})
    networks.to(dtype)
    given = twin.prepare(torch.from_numpy(np.moveaxis(images, -1, 1).copy()))
    outputs = _outputs(name, sizes, networks, given[:batch_size])
    networks.train()
    optimizer = twin.make_optimizer(networks)
    if epsilon is not None:
        for each in optimizer.values() if isinstance(optimizer, dict) else [optimizer]:
            for group in each.param_groups:
                group["eps"] = epsilon
    size, history = trajectories.images_per_step(name, batch_size), []
    gradients, statistics = {}, {}
    for step, each in enumerate(noise):
        batch = given[step * size : (step + 1) * size]
        if name == "wgan_mnist":
            batch = batch.unflatten(0, (-1, batch_size))
        drawn = torch.from_numpy(each).to(dtype)
        history.append(twin.train_step(networks, optimizer, batch, drawn))
        if step == 0:
            gradients = {k: _array(p.grad) for k, p in networks.named_parameters()}
            statistics = running({k: _array(v) for k, v in networks.named_buffers()})
    losses = {k: np.array([_array(losses[k]) for losses in history]) for k in history[0]}
    weights = flatten(torch_twins.state_dicts(twin, networks))
    weights = trajectories.without_counters({k: _array(v) for k, v in weights.items()})
    return Trajectory(outputs, losses, gradients, statistics, weights)


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy().copy()


def _outputs(name: str, sizes: Sizes, networks: nn.Module, images: Tensor) -> Arrays:
    networks.eval()
    latents = torch.from_numpy(trajectories.latents_of(sizes, len(images), images.numpy().dtype))
    with torch.no_grad():
        if name in ("dcgan_mnist", "wgan_mnist"):
            decoded = networks.get_submodule("generator")(latents)
            decoded = (decoded + 1) / 2 if name == "wgan_mnist" else decoded
            return {"images": _array(decoded.movedim(1, -1))}
        # Without noise a VAE decodes the posterior mean.
        noise = torch.zeros_like(latents)
        noise = noise[None] if name == "vae_animals" else noise
        decoded, mean, log_var = networks(images, noise)
        decoded = decoded[0] if name == "vae_animals" else decoded
        decoded = decoded.sigmoid() if "mnist" in name else decoded
    outputs = {"mean": mean, "log_var": log_var, "images": decoded.movedim(1, -1)}
    return {k: _array(v) for k, v in outputs.items()}


def compare(got: Trajectory, wanted: Trajectory) -> Parity:
    """The differences of two trajectories."""
    first = [{k: v[:1] for k, v in each.losses.items()} for each in (got, wanted)]
    return Parity(
        difference(got.outputs, wanted.outputs),
        difference(*first),
        difference(got.gradients, wanted.gradients),
        difference(got.statistics, wanted.statistics),
        difference(got.weights, wanted.weights),
    )


def difference(got: Arrays, wanted: Arrays) -> float:
    """The largest absolute difference over the largest absolute value of its array.

    Where an array is to be 0 all over, the absolute difference itself.
    """
    if got.keys() != wanted.keys():
        raise ValueError(f"not of the same arrays: {sorted(got.keys() ^ wanted.keys())}")
    worst = 0.0
    for name, array in wanted.items():
        if got[name].shape != array.shape:
            raise ValueError(f"{name} is {got[name].shape}, expected {array.shape}")
        absolute = float(np.max(np.abs(np.float64(got[name]) - np.float64(array))))
        if absolute or not math.isfinite(absolute):
            worst = max(worst, absolute / (float(np.max(np.abs(array))) or 1.0))
            worst = worst if math.isfinite(absolute) else math.inf
    return worst


def table(rows: dict[str, Any]) -> str:
    """The rows of parity.json as markdown."""
    lines = [
        "| system | parameters | output | gradient | weights | output | gradient | weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        numbers = [
            f"{row[dtype][field]:.0e}"
            for dtype in ("float32", "float64")
            for field in ("output", "gradient", "weights")
        ]
        lines.append(f"| `{name}` | {row['parameters']:,} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures every system."""
    published = "--published" in sys.argv[1:]
    rows = {}
    for name, sizes in (PUBLISHED if published else SMALL).items():
        row = measure(name, sizes)
        rows[name] = row._asdict() | {
            "float32": row.float32._asdict(),
            "float64": row.float64._asdict(),
        }
        print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
    versions = {"jax": jax.__version__, "torch": torch.__version__}
    settings = {"num_steps": NUM_STEPS, "batch_size": BATCH_SIZE, "published": published}
    path = RESULTS.with_stem("parity-published") if published else RESULTS
    path.write_text(json.dumps({"versions": versions, **settings, "rows": rows}, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
