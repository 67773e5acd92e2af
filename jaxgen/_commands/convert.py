"""`jaxgen convert` and `python -m jaxgen.interop`: weights from and to PyTorch, exported samplers.

jaxgen convert from-torch vae_mnist weights.pt sampler.safetensors
jaxgen convert to-torch sampler.safetensors weights.pt
jaxgen convert to-torch runs/vae_mnist weights.safetensors
jaxgen convert export runs/vae_mnist digits.zip
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxgen._files import expanded
from jaxgen.errors import UserError

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

    def run(self) -> None:
        """Reads, converts and writes."""
        import jax

        from jaxgen.interop import keys, samplers, state_files, weights

        name = keys.name_of(self.system)
        if "=" in self.source:
            parts = [each.partition("=") for each in self.source.split(",")]
            state_dicts: dict[str, Any] = {part: state_files.read(path) for part, _, path in parts}
        else:
            state_dicts = state_files.read(self.source)
        try:
            hyperparameters = samplers.with_tuples(json.loads(self.hyperparameters))
        except (ValueError, AttributeError):
            raise UserError(
                f"expected --hyperparameters as a JSON object, got {self.hyperparameters!r}: "
                'for example {"latent_size": 10}'
            ) from None
        _, learner = samplers.build(name, hyperparameters)
        state = weights.load_torch(
            name,
            learner.init(jax.random.key(0)),
            state_dicts,
            image_channels=learner.image_shape[-1],
        )
        samplers.save(self.target, name, state, **hyperparameters)


@dataclasses.dataclass(frozen=True)
class ToTorch:
    """Writes PyTorch's state dicts: .pt where PyTorch is installed, or .safetensors.

    Attributes:
      target: .pt, .pth, .ckpt, .bin or .safetensors.
    """

    source: Source
    target: Positional[Path]

    def run(self) -> None:
        """Reads, converts and writes."""
        from jaxgen.interop import state_files, weights

        system, state, hyperparameters = _opened(self.source)
        shape = hyperparameters.get("image_shape") or (1,)
        state_dicts = weights.to_torch(system, state, image_channels=shape[-1])
        state_files.write(self.target, state_dicts)


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes sample and decode as programs that run with JAX alone.

    Attributes:
      target: a .zip file.
    """

    source: Source
    target: Positional[Path]

    def run(self) -> None:
        """Reads, compiles and writes."""
        from jaxgen.interop import programs

        system, state, hyperparameters = _opened(self.source)
        programs.export(self.target, system, state, **hyperparameters)


@dataclasses.dataclass(frozen=True)
class Convert:
    """Converts weights from and to PyTorch, and runs to programs that need JAX alone.

    Attributes:
      how: from what to what.
    """

    how: FromTorch | ToTorch | Export

    def run(self) -> None:
        """Converts."""
        self.how.run()


def main(words: list[str]) -> None:
    """Converts as `python -m jaxgen.interop` does, without a command's name before the words."""
    how: Any = tyro.cli(
        FromTorch | ToTorch | Export,  # pyright: ignore[reportArgumentType, reportCallIssue]
        prog="python -m jaxgen.interop",
        description=__doc__,
        args=words,
    )
    how.run()


def _opened(source: Path) -> tuple[str, Any, dict[str, Any]]:
    """System, state and hyperparameters of a sampler or of a run's newest checkpoint."""
    from jaxgen import runs
    from jaxgen.interop import samplers

    source = expanded(source)
    if not source.is_dir():
        return samplers.open_sampler(source)
    run = runs.load(source)
    return run.config["system"], run.state, run.hyperparameters
