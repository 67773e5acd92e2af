"""The overhead of the library: an epoch of vae_mnist and the same computation without it.

    python benchmarks/bare_scan.py [--repeats 9] [--data-dir DIR]

The bare side has no modules, no optax and no metrics but the loss: dense layers as matrix products,
Adam by its formulas, and one `lax.scan` over the shuffled images. Both sides start from the same
weights, take turns in one process, and must agree on the loss before the clock starts.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import data, systems
from jaxgen.types import Array, PyTree

BATCH = 128
LEARNING_RATE, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8


def negative_elbo(params: PyTree, images: Array, key: Array) -> Array:
    """Cross-entropy of grey pixels plus KL, the mean over the batch."""

    def dense(layer: dict[str, Array], x: Array) -> Array:
        return x @ layer["kernel"] + layer["bias"][None]

    encoder, decoder = params["encoder"], params["decoder"]
    hidden = jax.nn.relu(dense(encoder["hidden"]["dense_0"], images))
    mean, log_var = dense(encoder["mean"], hidden), dense(encoder["log_var"], hidden)
    latents = mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
    logits = dense(decoder["output"], jax.nn.relu(dense(decoder["hidden"]["dense_0"], latents)))
    cross_entropy = jnp.sum(jax.nn.softplus(logits) - images * logits, axis=1)
    kl = 0.5 * jnp.sum(jnp.exp(log_var) + mean**2 - 1 - log_var, axis=1)
    return jnp.mean(cross_entropy + kl)


def bare_epoch(
    carry: tuple[PyTree, PyTree, PyTree, Array], images: Array, key: Array
) -> tuple[tuple[PyTree, PyTree, PyTree, Array], Array]:
    """One shuffled epoch of whole batches: new parameters, Adam's moments and its count."""
    shuffle_key, steps_key = jax.random.split(key)
    order = jax.random.permutation(shuffle_key, len(images)).reshape(-1, BATCH)

    def step(carry, x):
        (params, first, second, count), (index, rows) = carry, x
        batch = images[rows].reshape(BATCH, -1).astype(jnp.float32) / 255
        loss, grads = jax.value_and_grad(negative_elbo)(
            params, batch, jax.random.fold_in(steps_key, index)
        )
        count = count + 1
        first = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, first, grads)
        second = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, second, grads)
        by_first, by_second = 1 / (1 - B1**count), 1 / (1 - B2**count)
        params = jax.tree.map(
            lambda p, m, v: p - LEARNING_RATE * (m * by_first) / (jnp.sqrt(v * by_second) + EPS),
            params,
            first,
            second,
        )
        return (params, first, second, count), loss

    return jax.lax.scan(step, carry, (jnp.arange(len(order)), order))


def main() -> None:
    """Measures in turns and prints the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--data-dir")
    options = parser.parse_args()

    images = data.load("auto", options.data_dir).train.images
    images = jax.device_put(
        images[: len(images) // BATCH * BATCH]
    )  # a smaller last one has no twin
    learner = systems.vae_mnist(batch_size=BATCH)
    state = learner.init(jax.random.key(0))
    params = jax.tree.map(jnp.array, state.params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    carry = (params, zeros, jax.tree.map(jnp.array, zeros), jnp.zeros((), jnp.float32))
    bare = jax.jit(bare_epoch, donate_argnums=0)

    carry, bare_losses = bare(carry, images, jax.random.key(1))
    state, metrics = learner.epoch(state, images, jax.random.key(1))
    ours, theirs = float(np.mean(metrics["loss"])), float(np.mean(bare_losses))
    # The same images in the same order, but different noise.
    if abs(ours - theirs) > 5e-3 * theirs:
        raise SystemExit(f"the sides disagree: {ours:.2f} nats against {theirs:.2f}")

    times: dict[str, list[float]] = {"jaxgen": [], "bare": []}
    for repeat in range(options.repeats):
        key = jax.random.key(2 + repeat)
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(learner.epoch(state, images, key))
        middle = time.perf_counter()
        carry, _ = jax.block_until_ready(bare(carry, images, key))
        times["jaxgen"].append(middle - start)
        times["bare"].append(time.perf_counter() - middle)
    ratios = [a / b for a, b in zip(times["jaxgen"], times["bare"], strict=True)]
    for side, values in times.items():
        print(f"{side}: median {statistics.median(values):.3f} s per epoch")
    print(
        f"jaxgen / bare: median {statistics.median(ratios):.3f}, "
        f"{min(ratios):.3f} to {max(ratios):.3f} over {options.repeats} turns"
    )


if __name__ == "__main__":
    main()
