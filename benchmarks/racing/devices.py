"""The device, its settings and the precision of a race, chosen without initializing the device."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS = get_args(Precision)


class Choice(NamedTuple):
    """What both sides are told to use.

    Attributes:
      device: "cpu" or "cuda"; for JAX "cpu" or "gpu".
      precision: of matrix products; weights and sums are float32 in each.
      compile_mode: of torch.compile; None for its default.
      optimizer_options: PyTorch's fastest for an optimizer that is not compiled.
      channels_last: whether PyTorch's convolutions get the layout [B, H, W, C].
    """

    device: str
    precision: Precision
    compile_mode: str | None
    optimizer_options: Mapping[str, Any]
    channels_last: bool


def choose(
    cuda: bool, precision: str = "float32", *, adam: bool = True, channels_last: bool = False
) -> Choice:
    """The best that either side has for a device and a system.

    On a GPU "reduce-overhead" replays whole steps as CUDA graphs; on a CPU it does nothing. Adam
    is fused on both; RMSprop, which is not, takes its parameters as a group.

    Args:
      cuda: whether there is a GPU.
      precision: one of PRECISIONS.
      adam: whether the system's optimizer is Adam.
      channels_last: whether that layout is faster for the system's networks.

    Raises:
      SystemExit: for TF32 on a CPU, which has none, or for a precision that is none.
    """
    if precision not in PRECISIONS:
        raise SystemExit(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "tf32" and not cuda:
        raise SystemExit("expected float32 or bf16 on a CPU, got tf32: it has no such products")
    options: dict[str, Any] = {"fused": True} if adam else {"foreach": True}
    if cuda and not adam:
        options |= {"capturable": True}
    return Choice(
        "cuda" if cuda else "cpu",
        precision,  # pyright: ignore[reportArgumentType]
        "reduce-overhead" if cuda else None,
        options,
        channels_last,
    )


def untuned(choice: Choice) -> Choice:
    """Both as they come, where `choose` gives PyTorch's fastest settings."""
    return choice._replace(optimizer_options={}, channels_last=False)


def torch_matmul_precision(precision: Precision) -> str:
    """For torch.set_float32_matmul_precision; bf16 is autocast beside it."""
    return "high" if precision == "tf32" else "highest"


def jax_matmul_precision(choice: Choice) -> str | None:
    """For jax_default_matmul_precision.

    On a CPU every product is in float32 without being told; told "highest", jaxgen's convolutions
    would leave out two of the forms that its users get.
    """
    if choice.device == "cpu":
        return None
    return {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}[choice.precision]


def environment(choice: Choice) -> dict[str, str]:
    """What worker processes are started with: JAX looks at it before it is imported."""
    platform = {"cpu": "cpu", "cuda": "cuda"}[choice.device]
    return {
        "JAX_PLATFORMS": platform,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
