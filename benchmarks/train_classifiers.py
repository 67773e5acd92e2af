"""Trains the two classifiers whose features jaxgen.evaluation compares images in.

    python benchmarks/train_classifiers.py mnist fashion_mnist [--data-dir DIR]

writes jaxgen/evaluation/weights/NAME.safetensors (float16) and
benchmarks/results/classifiers.json: test accuracy of the weights as stored, SHA-256 of the file,
settings, versions, device and time. The test split is evaluated once, after the last epoch. The
same seed, versions and device give the same file.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen import __version__, data
from jaxgen._files import replacing
from jaxgen.networks.conv_classifier import ConvClassifier
from jaxgen.types import Array, Dataset, PyTree

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "jaxgen" / "evaluation" / "weights"
RESULTS = ROOT / "benchmarks" / "results" / "classifiers.json"

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2
LABEL_SMOOTHING = 0.1
MAX_SHIFT = 2  # pixels, in each direction
NUM_EPOCHS = {"mnist": 6, "fashion_mnist": 8}


def shifted(images: Array, key: Array) -> Array:
    """Each image moved by up to MAX_SHIFT pixels along both axes; zeros enter at the edges."""
    offsets = jax.random.randint(key, (len(images), 2), 0, 2 * MAX_SHIFT + 1)
    margin = (MAX_SHIFT, MAX_SHIFT)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))

    def moved(image: Array, offset: Array) -> Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    return jax.vmap(moved)(padded, offsets)


def train(dataset: Dataset, num_epochs: int, seed: int) -> tuple[ConvClassifier, PyTree]:
    """The network and its variables after the last epoch."""
    network = ConvClassifier()
    images = jnp.asarray(dataset.train.images)
    labels = jnp.asarray(dataset.train.labels)
    num_steps = len(images) // BATCH_SIZE
    schedule = optax.cosine_onecycle_schedule(num_steps * num_epochs, PEAK_LEARNING_RATE)
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)

    def loss(params: PyTree, batch_stats: PyTree, rows: Array, key: Array) -> Any:
        shift_key, dropout_key = jax.random.split(key)
        batch = shifted(images[rows].astype(jnp.float32) / 255, shift_key)
        (_, logits), updated = network.apply(
            {"params": params, "batch_stats": batch_stats},
            batch,
            True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        targets = optax.smooth_labels(jax.nn.one_hot(labels[rows], 10), LABEL_SMOOTHING)
        return optax.softmax_cross_entropy(logits, targets).mean(), updated["batch_stats"]

    @jax.jit
    def epoch(carry: PyTree, key: Array) -> tuple[PyTree, Array]:
        shuffle_key, steps_key = jax.random.split(key)
        order = jax.random.permutation(shuffle_key, len(images))
        batches = order[: num_steps * BATCH_SIZE].reshape(num_steps, BATCH_SIZE)

        def step(carry: PyTree, x: tuple[Array, Array]) -> tuple[PyTree, Array]:
            params, batch_stats, optimizer_state = carry
            rows, key = x
            (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(
                params, batch_stats, rows, key
            )
            updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
            return (optax.apply_updates(params, updates), batch_stats, optimizer_state), value

        carry, losses = jax.lax.scan(step, carry, (batches, jax.random.split(steps_key, num_steps)))
        return carry, losses.mean()

    init_key, epochs_key = jax.random.split(jax.random.key(seed))
    variables = network.init(init_key, jnp.zeros((1, *images.shape[1:])), False)
    carry = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    for i in range(num_epochs):
        carry, value = epoch(carry, jax.random.fold_in(epochs_key, i))
        print(f"epoch {i + 1} of {num_epochs}: loss {float(value):.4f}", flush=True)
    return network, {"params": carry[0], "batch_stats": carry[1]}


def accuracy(network: ConvClassifier, variables: PyTree, dataset: Dataset) -> float:
    """Share of the test images whose most probable class is their label."""

    @jax.jit
    def predict(images: Array) -> Array:
        logits: Any = network.apply(variables, images / 255, False)[1]
        return jnp.argmax(logits, axis=-1)

    parts = np.array_split(dataset.test.images.astype(np.float32), 20)
    predicted = np.concatenate([np.asarray(predict(part)) for part in parts])
    return float(np.mean(predicted == dataset.test.labels))


def main() -> None:
    """Trains each named classifier, then writes its weights and adds its record."""
    parser = argparse.ArgumentParser(description="Train the classifiers of jaxgen.evaluation.")
    parser.add_argument("names", nargs="+", choices=sorted(NUM_EPOCHS))
    parser.add_argument("--data-dir")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.names:
        dataset = data.load(name, options.data_dir)
        start = time.perf_counter()
        network, variables = train(dataset, NUM_EPOCHS[name], options.seed)
        seconds = time.perf_counter() - start
        flat = flatten_dict(variables, sep="/")
        stored = {key: np.asarray(leaf, np.float16) for key, leaf in flat.items()}
        rounded = {key: leaf.astype(np.float32) for key, leaf in stored.items()}
        content = safetensors.numpy.save(stored)
        with replacing(WEIGHTS / f"{name}.safetensors") as path:
            path.write_bytes(content)
        record = {
            "test_accuracy": accuracy(network, unflatten_dict(rounded, sep="/"), dataset),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "fingerprint": dataset.fingerprint,
            "num_epochs": NUM_EPOCHS[name],
            "batch_size": BATCH_SIZE,
            "peak_learning_rate": PEAK_LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "label_smoothing": LABEL_SMOOTHING,
            "max_shift": MAX_SHIFT,
            "seed": options.seed,
            "seconds": round(seconds),
            "device": f"{platform.machine()} CPU, {os.cpu_count()} cores",
            "versions": {"jaxgen": __version__, "jax": jax.__version__},
        }
        print(name, json.dumps(record, indent=2), flush=True)
        results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        with replacing(RESULTS) as path:
            path.write_text(json.dumps(results | {name: record}, indent=2) + "\n")


if __name__ == "__main__":
    main()
