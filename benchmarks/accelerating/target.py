"""What is decided by the platform, before any library is imported."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.racing import devices
from benchmarks.racing.course import Course

PLATFORMS = ("cpu", "cuda", "tpu")
WITH_PYTORCH = ("cpu", "cuda")
# XLA records sequences of kernels in CUDA graphs; with WHILE a whole loop is one graph.
COMMAND_BUFFERS = {
    "default": "",
    "none": "--xla_gpu_enable_command_buffer=",
    "without WHILE": "--xla_gpu_enable_command_buffer=-WHILE",
    "with WHILE": "--xla_gpu_enable_command_buffer=+WHILE",
}


class Target(NamedTuple):
    """The machine that is measured.

    Attributes:
      platform: one of PLATFORMS, as JAX names it.
      name: of the device.
      processors: that this process may run on.
      small: whether every part is reduced to what a test can wait for.
    """

    platform: str
    name: str
    processors: int
    small: bool

    @property
    def sides(self) -> tuple[str, ...]:
        """Of the race; PyTorch has no TPU."""
        torch = ("torch_eager", "torch_compile") if self.platform in WITH_PYTORCH else ()
        return (*torch, "jaxgen_step", "jaxgen_epoch")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of products, in the order in which they are raced."""
        return ("float32", "bf16", "tf32") if self.platform == "cuda" else ("float32",)

    @property
    def command_buffers(self) -> Mapping[str, str]:
        """Names of settings and their XLA flag."""
        return COMMAND_BUFFERS if self.platform == "cuda" else {"default": ""}

    @property
    def at_once(self) -> int:
        """Processes that compile beside one another."""
        return max(1, min(4, self.processors // 4))

    def choice(self, course: Course, precision: str) -> devices.Choice:
        """Settings of a system's race."""
        return devices.choose(
            self.platform == "cuda",
            precision if self.platform == "cuda" else "float32",
            adam=course.name != "wgan_mnist",
            channels_last=course.channels_last,
        )

    def environment(self, flag: str = "") -> dict[str, str]:
        """Of a process: JAX and XLA read it before they start.

        The CPU stays available beside an accelerator, as the reference. Processes share the device,
        so none reserves its memory, and PyTorch compiles with few processes in each.
        """
        platforms = {"cpu": "cpu", "cuda": "cuda,cpu", "tpu": "tpu,cpu"}[self.platform]
        return {
            "JAX_PLATFORMS": platforms,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip(),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TORCHINDUCTOR_COMPILE_THREADS": str(min(2, self.processors)),
            "TF_CPP_MIN_LOG_LEVEL": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def matmul_precision(self, precision: str = "float32") -> str | None:
        """For jax_default_matmul_precision; on accelerators the default is less than float32."""
        if self.platform == "cpu":
            return None
        return {"float32": "highest", "tf32": "tensorfloat32"}[precision]


def processors() -> int:
    """That this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def from_words(words: Mapping[str, Any]) -> Target:
    """A target that travelled to another process as JSON."""
    return Target(**words)
