"""vae_mnist in NumPyro, after its own example of a VAE: stax networks, SVI, one program an epoch.

https://num.pyro.ai/en/stable/examples/vae.html, with the networks and the grey pixels of vae_mnist.
The KL divergence is estimated from the sample, NumPyro's default.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array, lax
from jax.example_libraries import stax
from numpyro import distributions, optim
from numpyro.infer import SVI, Trace_ELBO

from benchmarks.racing.course import Course
from benchmarks.racing.devices import Choice, jax_matmul_precision
from benchmarks.racing.jaxgen_sides import peak_memory

HIDDEN_SIZE, LATENT_SIZE, LEARNING_RATE = 400, 20, 1e-3
LAYERS = {"encoder": ("fc1", "fc2", "fc3"), "decoder": ("fc4", "fc5")}  # PyTorch's names
SITE = "{}$params"  # NumPyro's name for the parameters of a module


def encoder() -> Any:
    """[B, pixels] -> (mean, log_var)."""
    heads = stax.parallel(stax.Dense(LATENT_SIZE), stax.Dense(LATENT_SIZE))
    return stax.serial(stax.Dense(HIDDEN_SIZE), stax.Relu, stax.FanOut(2), heads)


def decoder(num_pixels: int) -> Any:
    """[B, latents] -> logits [B, pixels]."""
    return stax.serial(stax.Dense(HIDDEN_SIZE), stax.Relu, stax.Dense(num_pixels))


def model(images: Array) -> None:
    """p(z) = N(0, 1), p(x | z) = Bernoulli(decoder(z))."""
    batch, num_pixels = images.shape
    decode = numpyro.module("decoder", decoder(num_pixels), (batch, LATENT_SIZE))
    with numpyro.plate("batch", batch):
        prior = distributions.Normal(0, 1).expand([LATENT_SIZE]).to_event(1)
        logits = decode(numpyro.sample("latents", prior))
        # grey pixels are not in the support of the distribution
        likelihood = distributions.Bernoulli(logits=logits, validate_args=False).to_event(1)
        numpyro.sample("images", likelihood, obs=images)


def guide(images: Array) -> None:
    """q(z | x) = N(mean, exp(log_var))."""
    batch, num_pixels = images.shape
    encode = numpyro.module("encoder", encoder(), (batch, num_pixels))
    mean, log_var = encode(images)
    with numpyro.plate("batch", batch):
        posterior = distributions.Normal(mean, jnp.exp(log_var / 2)).to_event(1)
        numpyro.sample("latents", posterior)


class NumPyro:
    """The side of the race; its methods answer a worker's orders."""

    def __init__(self, course: Course, choice: Choice, folder: Path, steps: int):
        self.batch_size = course.batch_size
        jax.config.update("jax_default_matmul_precision", jax_matmul_precision(choice))
        train, test = (_pixels(np.load(folder / f"{part}.npy")) for part in ("train", "test"))
        self.images, self.test = train[: steps * self.batch_size], test
        self.svi = SVI(model, guide, optim.Adam(LEARNING_RATE), Trace_ELBO())
        initial = self.svi.init(jax.random.key(0), self.images[: self.batch_size])
        params = _with_weights(self.svi.get_params(initial), folder / "weights.npz")
        self.initial = initial._replace(optim_state=self.svi.optim.init(params))
        self.epoch, self.loss = jax.jit(self._epoch), jax.jit(self._loss)
        self.restart()

    def facts(self) -> dict[str, Any]:
        """What must equal the other sides."""
        leaves = jax.tree.leaves(self.svi.get_params(self.state))
        return {"parameters": sum(leaf.size for leaf in leaves)}

    def restart(self) -> None:
        """The initial weights, and an optimizer without history."""
        self.state, self.key, self.newest = self.initial, jax.random.key(1), jnp.zeros(())

    def _epoch(self, state: Any, images: Array, key: Array) -> tuple[Any, Array]:
        order = jax.random.permutation(key, len(images)).reshape(-1, self.batch_size)

        def step(index, carry):
            return self.svi.update(carry[0], images[order[index]])

        return lax.fori_loop(0, len(order), step, (state, jnp.zeros(())))

    def _loss(self, state: Any, images: Array) -> Array:
        return self.svi.evaluate(state, images)

    def measure(self) -> float:
        """Seconds of one stretch."""
        self.key, key = jax.random.split(self.key)
        jax.block_until_ready((self.state, key))
        start = time.perf_counter()
        self.state, self.newest = self.epoch(self.state, self.images, key)
        jax.block_until_ready((self.state, self.newest))
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """The loss of the newest step, nats per image."""
        return {"loss": float(self.newest) / self.batch_size}

    def held_out(self) -> float:
        """The loss of the test images, mean over the images."""
        return float(self.loss(self.state, self.test)) / len(self.test)

    def memory(self) -> float:
        """Peak memory, MiB."""
        return peak_memory()


def _pixels(images: np.ndarray) -> Array:
    """[N, pixels] in [0, 1], on the device."""
    return jax.device_put(images.reshape(len(images), -1).astype(np.float32) / 255)


def _with_weights(params: dict[str, Any], path: Path) -> dict[str, Any]:
    """PyTorch's weights in the trees of stax: each layer's weight, then its bias."""
    with np.load(path) as weights:
        for part, layers in LAYERS.items():
            arrays = [
                jnp.asarray(array)
                for layer in layers
                for array in (weights[f"{layer}.weight"].T, weights[f"{layer}.bias"])
            ]
            leaves, tree = jax.tree.flatten(params[SITE.format(part)])
            assert [leaf.shape for leaf in leaves] == [array.shape for array in arrays]
            params = params | {SITE.format(part): jax.tree.unflatten(tree, arrays)}
    return params
