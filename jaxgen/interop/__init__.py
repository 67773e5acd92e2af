"""To and from PyTorch: weights under PyTorch's keys."""

from jaxgen.interop.files import read, write
from jaxgen.interop.weights import load_torch, to_torch

__all__ = ["load_torch", "read", "to_torch", "write"]
