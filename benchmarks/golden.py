"""Records PyTorch's trajectories, so that parity is checked where PyTorch is not installed.

    python benchmarks/golden.py

writes tests/golden/SYSTEM.npz: of five steps in float64 the losses, the outputs before them and the
weights after them, these two as float32 to be small, and the first step's noise. Start and images
are not in it: `trajectories` makes them from seeds of NumPy.
"""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import parity, trajectories
from benchmarks.pairs import SMALL

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
NUM_STEPS, BATCH_SIZE = 5, 8


def main() -> None:
    """Records every system."""
    FOLDER.mkdir(exist_ok=True)
    for name, sizes in SMALL.items():
        count = NUM_STEPS * trajectories.images_per_step(name, BATCH_SIZE)
        images = trajectories.images_of(sizes, count)
        with jax.enable_x64(True):
            noise = [
                trajectories.noise_of(
                    name, sizes, trajectories.key_of(i), BATCH_SIZE, np.dtype(np.float64)
                )
                for i in range(NUM_STEPS)
            ]
        start = trajectories.start_of(name, sizes)
        recorded = parity.run(name, sizes, start, images, noise, batch_size=BATCH_SIZE)
        arrays = {f"losses/{k}": v for k, v in recorded.losses.items()}
        arrays |= {f"outputs/{k}": np.float32(v) for k, v in recorded.outputs.items()}
        arrays |= {f"weights/{k}": np.float32(v) for k, v in recorded.weights.items()}
        arrays["noise"] = np.float32(noise[0])
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
