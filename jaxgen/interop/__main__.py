"""Converts on the command line: PyTorch files to samplers and back, and runs to programs.

python -m jaxgen.interop from-torch vae_mnist weights.pt sampler.safetensors
python -m jaxgen.interop to-torch sampler.safetensors weights.pt
python -m jaxgen.interop to-torch runs/vae_mnist weights.safetensors
python -m jaxgen.interop export runs/vae_mnist digits.zip
"""

import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxgen import systems
from jaxgen._files import expanded
from jaxgen.errors import UserError
from jaxgen.interop import keys, programs, samplers, state_files, weights
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.types import PyTree

Positional = tyro.conf.Positional
Source = Annotated[
    Positional[Path], tyro.conf.arg(help="a sampler (.safetensors), or the folder of a run")
]


@dataclasses.dataclass(frozen=True)
class FromTorch:
    """Makes a sampler of jaxgen from PyTorch's state dicts.

    Attributes:
      system: a source system, such as vae_mnist.
      source: a file of PyTorch or safetensors; several as generator=G.pt,critic=C.pt.
      target: the sampler, a .safetensors file.
      hyperparameters: those that differ from the published ones, as JSON: {"latent_size": 10}.
    """

    system: Positional[str]
    source: Positional[str]
    target: Positional[Path]
    hyperparameters: str = "{}"


@dataclasses.dataclass(frozen=True)
class ToTorch:
    """Writes PyTorch's state dicts: .pt where PyTorch is installed, or .safetensors.

    Attributes:
      target: .pt, .pth, .ckpt, .bin or .safetensors.
    """

    source: Source
    target: Positional[Path]


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes sample and decode as programs that run with JAX alone.

    Attributes:
      target: a .zip file.
    """

    source: Source
    target: Positional[Path]


def main(args: list[str] | None = None) -> None:
    """Runs the command that the command line names."""
    commands = FromTorch | ToTorch | Export
    prog = "python -m jaxgen.interop"
    command: Any = tyro.cli(commands, prog=prog, description=__doc__, args=args)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if isinstance(command, FromTorch):
        from_torch(command)
        return
    system, state, hyperparameters = opened(command.source)
    if isinstance(command, Export):
        programs.export(command.target, system, state, **hyperparameters)
    else:
        shape = hyperparameters.get("image_shape") or (1,)
        state_files.write(command.target, weights.to_torch(system, state, image_channels=shape[-1]))


def from_torch(command: FromTorch) -> None:
    """Reads, converts and writes."""
    name = keys.name_of(command.system)
    if "=" in command.source:
        parts = [each.partition("=") for each in command.source.split(",")]
        state_dicts: dict[str, Any] = {part: state_files.read(path) for part, _, path in parts}
    else:
        state_dicts = state_files.read(command.source)
    try:
        hyperparameters = samplers.with_tuples(json.loads(command.hyperparameters))
    except (ValueError, AttributeError):
        raise UserError(
            f"expected --hyperparameters as a JSON object, got {command.hyperparameters!r}: "
            'for example {"latent_size": 10}'
        ) from None
    _, learner = samplers.build(name, hyperparameters)
    shape = hyperparameters.get("image_shape") or (1,)
    state = weights.load_torch(
        name, learner.init(jax.random.key(0)), state_dicts, image_channels=shape[-1]
    )
    samplers.save(command.target, name, state, **hyperparameters)


def opened(source: Path) -> tuple[str, PyTree, dict[str, Any]]:
    """System, state and hyperparameters of a sampler or of a run's newest checkpoint."""
    source = expanded(source)
    if not source.is_dir():
        return samplers.open_sampler(source)
    try:
        config = json.loads((source / "config.json").read_text())
        name = config["system"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"expected the folder of a run at {source}, found no config.json that can be read "
            f"({type(error).__name__}): check the path"
        ) from error
    own = inspect.signature(getattr(systems, name)).parameters
    hyperparameters = samplers.with_tuples({k: v for k, v in config.items() if k in own})
    _, learner = samplers.build(name, hyperparameters)
    template = jax.eval_shape(learner.init, jax.random.key(0))
    with Checkpoints(source / "checkpoints") as checkpoints:
        found = checkpoints.restore_latest(template)
    if found is None:
        raise UserError(f"expected a checkpoint in {source}, found none: train it first")
    return name, found.state, hyperparameters


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
