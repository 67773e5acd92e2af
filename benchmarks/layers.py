"""The layers that `convolutions.py` measures, and how each side measures one.

Neither library is imported before it is measured: each side runs in a process of its own.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

BATCH = 64
LOOP = 4  # steps of the jitted loop, whose time is divided by it
MINIMUM = 0.03  # seconds: shorter calls are repeated, and the mean is taken


class Row(NamedTuple):
    """A layer: PyTorch's arguments, on square images."""

    transposed: bool
    size: int
    channels: int
    features: int
    kernel: int
    stride: int
    padding: int

    @property
    def name(self) -> str:
        """As in "convT 9x9x256->128 k5 s2 p1"."""
        kind, size = "convT" if self.transposed else "conv", self.size
        steps = "".join(
            f" {letter}{value}"
            for letter, value, usual in (("s", self.stride, 1), ("p", self.padding, 0))
            if value != usual
        )
        shape = f"{size}x{size}x{self.channels}->{self.features}"
        return f"{kind} {shape} k{self.kernel}{steps}"


ROWS = [
    Row(True, 1, 100, 512, 5, 1, 0),
    Row(True, 5, 512, 256, 5, 1, 0),
    Row(True, 9, 256, 128, 5, 2, 0),
    Row(True, 21, 128, 64, 5, 1, 0),
    Row(True, 25, 64, 1, 4, 1, 0),
    Row(True, 4, 64, 32, 2, 2, 0),
    Row(True, 16, 128, 64, 4, 2, 1),
    Row(True, 64, 32, 3, 4, 2, 1),
    Row(False, 14, 64, 128, 4, 2, 1),
    Row(False, 28, 1, 64, 4, 2, 1),
    Row(False, 128, 3, 32, 4, 2, 1),
    Row(False, 64, 32, 64, 4, 2, 1),
    Row(False, 32, 3, 16, 3, 1, 1),
]
GENERATOR = ROWS[:5]  # DCGAN's on 28x28 images, layer by layer


Measures = dict[str, Callable[[], float]]


def milliseconds(call: Callable[[], Any]) -> Callable[[], float]:
    """One warmed-up measurement of a call that blocks until it is done."""

    def clock(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times

    call()
    times = max(1, round(MINIMUM / clock(1)))
    return lambda: 1e3 * clock(times)


def torch_measures(row: Row, threads: int, device: str = "cpu") -> Measures:
    """PyTorch eager, NCHW, written as usual; on a GPU by the fastest of cuDNN's float32 kernels."""
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = device == "cuda"
    torch.backends.cudnn.allow_tf32 = False
    functional = torch.nn.functional
    conv = functional.conv_transpose2d if row.transposed else functional.conv2d
    images = torch.randn(BATCH, row.channels, row.size, row.size, device=device)
    ends = (row.channels, row.features) if row.transposed else (row.features, row.channels)
    weight = torch.randn(*ends, row.kernel, row.kernel, device=device)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def forward(images=images, weight=weight):
        with torch.no_grad():
            value = conv(images, weight, stride=row.stride, padding=row.padding)
        wait()
        return value

    cotangent = torch.randn_like(forward())
    images_, weight_ = images.clone().requires_grad_(), weight.clone().requires_grad_()

    def everything():
        images_.grad = weight_.grad = None
        conv(images_, weight_, stride=row.stride, padding=row.padding).backward(cotangent)
        wait()

    return {"forward": milliseconds(forward), "all": milliseconds(everything)}


def jax_layer(row: Row) -> Callable:
    """jaxgen's layer: (images, kernel) -> output."""
    from jaxgen.convolutions import conv, conv_transpose

    function = conv_transpose if row.transposed else conv
    return lambda images, kernel: function(images, kernel, row.stride, row.padding)


def jax_arrays(row: Row, layer: Callable, steps: int):
    """Images, kernel and cotangent for several steps."""
    import jax

    keys = jax.random.split(jax.random.key(0), 3)
    ends = (row.features, row.channels) if row.transposed else (row.channels, row.features)
    images = jax.random.normal(keys[0], (steps, BATCH, row.size, row.size, row.channels))
    kernel = jax.random.normal(keys[1], (row.kernel, row.kernel, *ends))
    out = jax.eval_shape(layer, images[0], kernel)
    return images, kernel, jax.random.normal(keys[2], (steps, *out.shape))


def with_gradients(layer: Callable) -> Callable:
    """Value and both gradients of a layer."""
    import jax

    def everything(images, kernel, cotangent):
        value, vjp = jax.vjp(layer, images, kernel)
        return value, *vjp(cotangent)

    return everything


def jax_measures(row: Row, threads: int) -> Measures:
    """jaxgen: one jitted call, and steps of a jitted loop as in an epoch under lax.scan."""
    del threads  # JAX takes the processors that the process may run on
    import jax
    import jax.numpy as jnp

    layer = jax_layer(row)
    images, kernel, cotangents = jax_arrays(row, layer, LOOP)
    forward, everything = jax.jit(layer), jax.jit(with_gradients(layer))

    @jax.jit
    def loop(images, kernel, cotangents):
        def step(carry, batch):  # all three are written out, and the kernel changes: none is saved
            _, _, kernel = carry
            value, image_gradient, kernel_gradient = with_gradients(layer)(
                batch[0], kernel, batch[1]
            )
            return (value, image_gradient, kernel - 1e-9 * kernel_gradient), None

        start = (jnp.zeros_like(cotangents[0]), jnp.zeros_like(images[0]), kernel)
        return jax.lax.scan(step, start, (images, cotangents))[0]

    first, cotangent = images[0] + 0, cotangents[0] + 0
    steps = milliseconds(lambda: jax.block_until_ready(loop(images, kernel, cotangents)))
    return {
        "forward": milliseconds(lambda: jax.block_until_ready(forward(first, kernel))),
        "all": milliseconds(lambda: jax.block_until_ready(everything(first, kernel, cotangent))),
        "loop": lambda: steps() / LOOP,
    }
