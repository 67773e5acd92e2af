"""MLPs in NumPy and float64, forward and backward, written from the equations alone.

A network is a list of layers; `mlp` returns what `mlp_gradients` needs. Names of parameters follow
jaxgen's so that trees can be compared leaf by leaf.
"""

from typing import Any, NamedTuple

import numpy as np

EPSILON = 1e-5  # of BatchNorm


class Cache(NamedTuple):
    inputs: np.ndarray  # of the dense layer
    preactivation: np.ndarray
    centred: np.ndarray | None  # the rest: of BatchNorm
    variance: np.ndarray | None


def dense(params: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def dense_gradients(params: Any, x: np.ndarray, grad: np.ndarray) -> tuple[dict, np.ndarray]:
    """Gradients of the parameters and of the input."""
    return {"kernel": x.T @ grad, "bias": grad.sum(0)}, grad @ np.asarray(params["kernel"]).T


def hidden(params: Any, x: np.ndarray, slope: float, running: Any = None):
    """Dense → leaky ReLU → BatchNorm where there are parameters for it, layer by layer.

    With `running`, BatchNorm normalises by these averages, else by the batch's own moments.
    Returns the output, the caches and the moments used, by layer.
    """
    caches, moments = [], {}
    for i in range(sum(name.startswith("dense") for name in params)):
        inputs = x
        preactivation = dense(params[f"dense_{i}"], inputs)
        x = np.where(preactivation > 0, preactivation, slope * preactivation)
        centred = variance = None
        if norm := params.get(f"norm_{i}"):
            if running is None:
                mean, variance = x.mean(0), np.mean((x - x.mean(0)) ** 2, axis=0)
            else:
                mean, variance = (np.asarray(running[f"norm_{i}"][k]) for k in ("mean", "var"))
            moments[f"norm_{i}"] = {"mean": mean, "var": variance}
            centred = x - mean
            x = centred / np.sqrt(variance + EPSILON) * norm["scale"] + norm["bias"]
        caches.append(Cache(inputs, preactivation, centred, variance))
    return x, caches, moments


def hidden_gradients(params: Any, caches: list[Cache], slope: float, grad: np.ndarray):
    """Gradients of the parameters and of the input, where BatchNorm used the batch's moments."""
    grads = {}
    for i, cache in reversed(list(enumerate(caches))):
        if cache.centred is not None and cache.variance is not None:
            std = np.sqrt(cache.variance + EPSILON)
            normalised = cache.centred / std
            grads[f"norm_{i}"] = {"scale": np.sum(grad * normalised, 0), "bias": grad.sum(0)}
            # The mean and the variance depend on every row: their paths take away from the
            # gradient what is constant over the batch, and what is along the normalised values.
            grad = grad * np.asarray(params[f"norm_{i}"]["scale"])
            along = np.mean(grad * normalised, 0)
            grad = (grad - grad.mean(0) - normalised * along) / std
        grad = np.where(cache.preactivation > 0, grad, slope * grad)
        grads[f"dense_{i}"], grad = dense_gradients(params[f"dense_{i}"], cache.inputs, grad)
    return grads, grad
