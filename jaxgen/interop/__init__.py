"""Weights from and to PyTorch, trained samplers as files, and programs that run with JAX alone.

load_torch, to_torch    weights and BatchNorm statistics under PyTorch's keys
read, write             the files that hold them
save, load              a trained sampler: weights with their configuration
export                  a trained sampler as programs that run with JAX alone
"""

from jaxgen.interop.programs import export
from jaxgen.interop.samplers import load, save
from jaxgen.interop.state_files import read, write
from jaxgen.interop.weights import load_torch, to_torch

__all__ = ["export", "load", "load_torch", "read", "save", "to_torch", "write"]
