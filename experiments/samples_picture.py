"""Draws one strip of samples per run: the picture of README.

    cd runs && python ../experiments/samples_picture.py vae_mnist vae_binarized_mnist \\
        vae_batchnorm_mnist cvae_mnist vae_flowers dcgan_mnist wgan_mnist \\
        --output ../docs/samples.png

A strip shows samples of the last checkpoint under a fixed seed. A conditional system shows its
classes one after another.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxgen import runs
from jaxgen.visualization import grids


def main(
    workdirs: tyro.conf.Positional[tuple[Path, ...]],
    output: Path = Path("docs/samples.png"),
    num_samples: int = 14,
    seed: int = 0,
) -> None:
    """Draws samples of finished runs.

    Args:
      workdirs: folders of runs.
      output: the picture.
      num_samples: images in each strip.
      seed: of the samples.
    """
    rows = {}
    for workdir in workdirs:
        run = runs.load(workdir)
        labels = {}
        if run.learner.num_classes:
            labels = {"labels": jnp.arange(num_samples) % run.learner.num_classes}
        sample = run.learner.require("sample")
        images = sample(run.state, num_samples, jax.random.key(seed), **labels)
        rows[run.config["system"] or workdir.name] = np.asarray(images)
    grids.save(output, grids.strips(rows, side=64))


if __name__ == "__main__":
    runs.command(lambda: tyro.cli(main))
