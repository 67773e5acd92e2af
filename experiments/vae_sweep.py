"""The weight of the KL term swept over 16 values and 4 seeds, all trained as one program.

    python experiments/vae_sweep.py

A VAE's loss is distortion + beta * rate: the distortion is -E[log p(x|z)], the rate is
KL(q(z|x) || p(z)) (Alemi et al. 2018, https://arxiv.org/abs/1711.00464). images/rate-distortion.png
shows where each beta ends on held-out images, mean and standard deviation over the seeds;
images/samples.png shows samples of each beta.
"""

import jax
import numpy as np

from jaxgen import runs, systems
from jaxgen.errors import UserError
from jaxgen.visualization import grids, spreads

BETAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
NUM_SAMPLES = 12


def main() -> None:
    """Trains every beta with every seed, and draws the curve and the samples."""
    population = runs.train_population(
        systems.vae_mnist, num_seeds=4, swept={"beta": BETAS}, num_epochs=2, prog="vae_sweep.py"
    )
    curve, samples = {}, {}
    for point in population.points:
        members = population.of_point(point)
        if not members:  # all seeds diverged in their first epoch, which has been said
            continue
        name = f"beta {point['beta']:g}"
        last = [member.history[-1] for member in members]
        rate = [record["test/kl"] for record in last]
        curve[name] = rate, [record["test/reconstruction"] for record in last]
        first = members[0]
        key = jax.random.key(first.config["seed"])
        samples[name] = np.asarray(first.learner.require("sample")(first.state, NUM_SAMPLES, key))
    if not curve:
        raise UserError("every member diverged in its first epoch: lower --learning-rate")
    title = f"{population.members[0].config['dataset']}: rate and distortion, held out"
    images = population.workdir / "images"
    axes = "rate: KL (nats per image)", "distortion: -E[log p(x|z)] (nats per image)"
    spreads.error_bars(images / "rate-distortion.png", curve, *axes, title)
    grids.save(images / "samples.png", grids.strips(samples, side=56))


if __name__ == "__main__":
    runs.command(main)
