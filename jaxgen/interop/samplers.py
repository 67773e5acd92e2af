"""Trained samplers for others: weights with their configuration, or programs for JAX alone."""

import inspect
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import systems
from jaxgen.errors import UserError
from jaxgen.interop.keys import leaves_of
from jaxgen.interop.state_files import read_safetensors, write_whole
from jaxgen.types import Learner, PyTree

FORMAT = "jaxgen sampler 1"
FIELDS = ("params", "batch_stats", "ema")
PLATFORMS = ("cpu", "cuda", "tpu")


def save(
    path: str | Path, system: str | Callable[..., Learner], state: PyTree, **hyperparameters: Any
) -> None:
    """Saves what samples: the networks' weights as safetensors, the configuration as metadata.

    The optimizer's state is not saved. Arrays are named by their path, "params/encoder/mean/bias";
    the metadata are `format`, `system` and `hyperparameters` (JSON).

    Args:
      path: a .safetensors file, written whole or not at all.
      system: name or function of any system of `systems`.
      state: of its learner.
      **hyperparameters: the keyword arguments that the learner was built with.

    Raises:
      UserError: where the state is not of that system with these keyword arguments, one of them
        is nothing that JSON can hold, or the file cannot be written.
    """
    import safetensors.numpy

    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"expected a file that ends in .safetensors, got {path}: rename it")
    name, _ = _built(system, state, hyperparameters)
    try:
        configuration = json.dumps(hyperparameters)
    except TypeError as error:
        raise UserError(
            f"expected hyperparameters that JSON can hold ({error}): a schedule given as a "
            "function plays no part in sampling, leave it out"
        ) from None
    metadata = {"format": FORMAT, "system": name, "hyperparameters": configuration}
    arrays = {"/".join(key): np.asarray(leaf) for key, leaf in _leaves(state).items()}
    write_whole(path, safetensors.numpy.save(arrays, metadata))


def load(path: str | Path) -> tuple[Learner, PyTree]:
    """The learner and state of a file that `save` wrote; the optimizer starts anew.

    Raises:
      UserError: where the file is missing, damaged, or not one of `save`.
    """
    name, state, hyperparameters = open_sampler(Path(path))
    return build(name, hyperparameters)[1], state


def export(
    path: str | Path, system: str | Callable[..., Learner], state: PyTree, **hyperparameters: Any
) -> None:
    """Writes `sample` and `decode`, weights included, as one file that runs with JAX alone.

    The file is a ZIP archive of two serialised `jax.export` programs for CPU, CUDA and TPU, for
    any number of images, and of `about.json`. JAX reads the programs with the package flatbuffers,
    which it does not install by itself. To run one:

        archive = zipfile.ZipFile("digits.zip")
        sample = jax.export.deserialize(bytearray(archive.read("sample")))
        images = sample.call(jax.random.key(0), np.zeros(16, np.float32))  # 16 of them
        decode = jax.export.deserialize(bytearray(archive.read("decode")))
        images = decode.call(latents)  # float32 [N, latent_size]

    `sample` reads nothing but the length of its second argument. Where the system is conditional,
    `sample` takes labels, int32 [N], in that place and `decode` after the latents.

    Args:
      path: a .zip file, written whole or not at all.
      system: name or function of any system of `systems`.
      state: of its learner.
      **hyperparameters: the keyword arguments that the learner was built with.

    Raises:
      UserError: where the state is not of that system with these keyword arguments, or the file
        cannot be written.
    """
    path = Path(path)
    if path.suffix != ".zip":
        raise UserError(f"expected a file that ends in .zip, got {path}: rename it")
    name, learner = _built(system, state, hyperparameters)
    known = {
        key: parameter.default
        for key, parameter in inspect.signature(getattr(systems, name)).parameters.items()
    } | hyperparameters
    labelled = "num_classes" in known

    def sample(key: jax.Array, places: jax.Array) -> jax.Array:
        given = {"labels": places} if labelled else {}
        return learner.sample(state, places.shape[0], key, **given)

    def decode(latents: jax.Array, *labels: jax.Array) -> jax.Array:
        return learner.decode(state, latents, **({"labels": labels[0]} if labels else {}))

    (n,) = jax.export.symbolic_shape("n")
    key = jax.eval_shape(lambda: jax.random.key(0))
    latents = jax.ShapeDtypeStruct((n, known["latent_size"]), jnp.float32)
    places = jax.ShapeDtypeStruct((n,), jnp.int32 if labelled else jnp.float32)
    arguments = {"sample": (key, places), "decode": (latents, places)[: 1 + labelled]}
    about = {"system": name, "latent_size": known["latent_size"], "labelled": labelled}

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for function in (sample, decode):
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)
            program = exported(*arguments[function.__name__]).serialize()
            archive.writestr(function.__name__, bytes(program))
        archive.writestr("about.json", json.dumps(about))
    write_whole(path, buffer.getvalue())


def open_sampler(path: Path) -> tuple[str, PyTree, dict[str, Any]]:
    """System, state and hyperparameters of a file that `save` wrote; raises as `load` does."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"expected a sampler saved by jaxgen in {path}, found other safetensors: weights under "
            "PyTorch's keys are for interop.read and interop.load_torch"
        )
    hyperparameters = with_tuples(json.loads(metadata["hyperparameters"]))
    name, learner = build(metadata["system"], hyperparameters)
    state = learner.init(jax.random.key(0))
    expected = {"/".join(key): leaf.shape for key, leaf in _leaves(state).items()}
    if expected != {key: array.shape for key, array in arrays.items()}:
        raise UserError(
            f"cannot use {path}: its arrays are not those of its configuration; it was "
            "saved by another version of jaxgen, or changed"
        )

    def replaced(tree: PyTree, *key: str) -> PyTree:
        if not isinstance(tree, Mapping):
            return jnp.asarray(arrays["/".join(key)])
        return {name: replaced(child, *key, name) for name, child in tree.items()}

    fields = [field for field in FIELDS if hasattr(state, field)]
    state = state._replace(**{field: replaced(getattr(state, field), field) for field in fields})
    return name, state, hyperparameters


def build(
    system: str | Callable[..., Learner], hyperparameters: Mapping[str, Any]
) -> tuple[str, Learner]:
    """The name of a system, given by name or as the function, and its learner.

    Raises:
      UserError: where there is no such system, or it takes no such keyword argument.
    """
    name = system if isinstance(system, str) else getattr(system, "__name__", repr(system))
    if name not in systems.__all__:
        raise UserError(f"expected one of {', '.join(systems.__all__)}, got {name!r}: pick one")
    function = getattr(systems, name)
    unknown = hyperparameters.keys() - inspect.signature(function).parameters.keys()
    if unknown:
        raise UserError(
            f"expected keyword arguments of {name}, got {', '.join(sorted(unknown))}: "
            "leave them out"
        )
    return name, function(**hyperparameters)


def _built(
    system: str | Callable[..., Learner], state: PyTree, hyperparameters: Mapping[str, Any]
) -> tuple[str, Learner]:
    """The system's name and learner, which is the state's."""
    name, learner = build(system, hyperparameters)
    expected = jax.eval_shape(learner.init, jax.random.key(0))
    shapes = [{key: leaf.shape for key, leaf in _leaves(s).items()} for s in (expected, state)]
    if shapes[0] != shapes[1]:
        key = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))[0][0]
        raise UserError(
            f"expected the state of {name} with these hyperparameters, where {'/'.join(key)} is "
            f"{shapes[0].get(key, 'absent')}, got {shapes[1].get(key, 'absent')}: give the keyword "
            "arguments that its learner was built with"
        )
    return name, learner


def _leaves(state: PyTree) -> dict[tuple[str, ...], Any]:
    return leaves_of({field: getattr(state, field, {}) for field in FIELDS})


def with_tuples(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the systems take tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()}
