"""State dicts in files: PyTorch's own, and safetensors."""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen._files import replacing
from jaxgen.errors import UserError
from jaxgen.interop.weights import as_array, flatten

TORCH_SUFFIXES = (".pt", ".pth")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")


def read(path: str | Path) -> dict[str, Any]:
    """The state dict, or dict of state dicts, that a file holds.

    .pt and .pth files are read by PyTorch where it is installed, as tensors and plain containers
    alone: a pickle that would run code is refused. .safetensors files need no PyTorch; in them
    the keys of several networks are one dict, "generator.KEY" and "critic.KEY".

    Raises:
      UserError: in one line, where the file is missing, damaged, of another kind, or refused.
    """
    path = Path(path)
    _check_suffix(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    _check_there(path)
    return _read_torch(path)


def write(path: str | Path, state_dicts: Mapping[str, Any]) -> None:
    """Writes what `to_torch` gives, in the format that the file's suffix names, all or nothing.

    Raises:
      UserError: in one line, where the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    if path.suffix == ".safetensors":
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
    """Writes a file such that it is there whole or not at all.

    Raises:
      UserError: where it cannot be written.
    """
    if not path.parent.is_dir():  # a slip of the pen rather than a folder to be made
        raise UserError(f"cannot write {path} (no folder {path.parent}): choose another place")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): choose another place"
        ) from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"expected a file that ends in {', '.join(SUFFIXES)}, got {path}: rename or convert it"
        )


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"expected PyTorch to be installed for {path}: install jaxgen's extra `torch`, or use "
            "a .safetensors file, which needs none"
        ) from None
    return torch


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
      UserError: where it is missing or damaged.
    """
    import safetensors

    _check_there(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(
            f"cannot read {path}: it is damaged or no safetensors file ({error}); "
            "fetch or make it again"
        ) from error


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"expected a file at {path}, found none: check the path")


def _read_torch(path: Path) -> dict[str, Any]:
    torch = _torch(path)
    try:
        # PyTorch warns of pickles that other programs wrote before it reads or refuses them.
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused to read {path}: it is damaged, or holds more than tensors and would run "
            "code when it is opened; save model.state_dict() instead of the model"
        ) from error
    except Exception as error:  # torch raises a different type for every kind of damage
        raise UserError(
            f"cannot read {path}: it is damaged or no file of PyTorch "
            f"({type(error).__name__}); fetch or make it again"
        ) from error
    if not isinstance(loaded, Mapping):
        raise UserError(
            f"expected a state dict in {path}, found {type(loaded).__name__}: save "
            "model.state_dict()"
        )
    return dict(loaded)
