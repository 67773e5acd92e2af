"""State dicts in files: PyTorch's own, and safetensors."""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen._files import expanded, one_line_errors, reason, replacing
from jaxgen.errors import UserError
from jaxgen.interop.flattening import as_array, flatten

TORCH_SUFFIXES = (".pt", ".pth", ".pth.tar", ".ckpt", ".bin")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
# The types of safetensors that are read, in NumPy.
TYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "BF16": np.dtype(jnp.bfloat16),
}


def read(path: str | Path) -> dict[str, Any]:
    """The state dict, or dict of state dicts, that a file holds.

    The content decides how a file is read, whatever its name ends in. PyTorch's files need PyTorch,
    and are read as tensors and plain containers only: a pickle that would run code is refused.
    safetensors files do not need PyTorch; they hold the keys of several networks in one dict,
    "generator.KEY" and "critic.KEY".

    Raises:
      UserError: the file is missing, damaged, of another kind, or refused.
    """
    path = expanded(path)
    _check_there(path)
    if _is_safetensors(path):
        return read_safetensors(path)[0]
    return _read_torch(path)


def write(path: str | Path, state_dicts: Mapping[str, Any]) -> None:
    """Writes what `to_torch` returns, in the format that the file's suffix names, all or nothing.

    Raises:
      UserError: the suffix is unknown or the file cannot be written.
    """
    path = expanded(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"expected a file that ends in {', '.join(SUFFIXES)}, got {path}: rename it"
        )
    if path.suffix.lower() == ".safetensors":
        import safetensors.numpy

        flat = {
            key: np.ascontiguousarray(as_array(key, value))
            for key, value in flatten(state_dicts).items()
        }
        write_whole(path, safetensors.numpy.save(flat))
        return
    torch = _torch(path)

    def tensors(tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {key: tensors(value) for key, value in tree.items()}
        return torch.tensor(np.asarray(tree))

    buffer = io.BytesIO()
    torch.save(tensors(state_dicts), buffer)
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file such that it appears complete or not at all.

    Raises:
      UserError: it cannot be written.
    """
    if not path.parent.is_dir():  # more likely a typing error than a folder to create
        raise UserError(f"cannot write {path} (no folder {path.parent}): choose another place")
    with one_line_errors("write", path, "choose another place"), replacing(path) as temporary:
        temporary.write_bytes(content)


def _is_safetensors(path: Path) -> bool:
    """Whether the name or the first bytes are those of safetensors: a length, then JSON."""
    if path.suffix.lower() == ".safetensors":
        return True
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise _unreadable(path, error) from error
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"expected PyTorch to be installed for {path}: install jaxgen's extra `torch`, or use "
            "a .safetensors file, which does not need it"
        ) from None
    return torch


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
      UserError: it is missing or damaged.
    """
    import safetensors

    _check_there(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # checks the header first
            metadata = file.metadata() or {}
        described = dict(safetensors.deserialize(path.read_bytes()))
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    unknown = sorted({each["dtype"] for each in described.values()} - TYPES.keys())
    if unknown:
        raise UserError(
            f"expected arrays of {', '.join(TYPES)} in {path}, found {', '.join(unknown)}: convert "
            "them to F32"
        )
    arrays = {
        key: np.array(np.frombuffer(each["data"], TYPES[each["dtype"]]).reshape(each["shape"]))
        for key, each in described.items()
    }
    return arrays, metadata


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"cannot read {path}, it may be damaged ({reason(error)}): fetch or make it again"
    )


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"expected a file at {path}, found none: check the path")


def _read_torch(path: Path) -> dict[str, Any]:
    torch = _torch(path)
    try:
        # PyTorch warns about pickles of other programs before it reads or refuses them.
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused to read {path}: it is damaged, or holds more than tensors and would run "
            "code when opened; if it is a whole model from a source you trust, save its weights: "
            f"torch.save(torch.load({path.name!r}, weights_only=False).state_dict(), 'weights.pt')"
        ) from error
    except Exception as error:  # torch raises a different type for every kind of damage
        raise UserError(
            f"cannot read {path}: it is damaged, or neither a PyTorch nor a safetensors file "
            f"({type(error).__name__}); fetch or make it again"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UserError(
            f"expected a state dict in {path}, found {type(loaded).__name__}: save "
            "model.state_dict()"
        )
    return dict(loaded)
