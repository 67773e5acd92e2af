"""Trained models as programs that run with JAX alone."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen._files import expanded
from jaxgen.errors import UserError
from jaxgen.interop.samplers import System, as_json, build, check_state
from jaxgen.interop.state_files import write_whole
from jaxgen.types import PyTree

PLATFORMS = ("cpu", "cuda", "tpu")


def export(path: str | Path, system: System, state: PyTree, **hyperparameters: Any) -> None:
    """Writes `sample` and `decode`, weights included, as one file that runs with JAX alone.

    The file is a ZIP archive of two serialised `jax.export` programs for CPU, CUDA and TPU, for
    any number of images, and of `about.json`. JAX reads the programs with the package flatbuffers,
    which it does not install by itself. To run one:

        archive = zipfile.ZipFile("digits.zip")
        sample = jax.export.deserialize(bytearray(archive.read("sample")))
        images = sample.call(jax.random.key(0), np.zeros(16, np.float32))  # 16 images
        decode = jax.export.deserialize(bytearray(archive.read("decode")))
        images = decode.call(latents)  # float32 [N, latent_size]

    `sample` uses only the length of its second argument. For a conditional system that argument is
    labels, int32 [N], and `decode` takes labels after the latents.

    Args:
      path: a .zip file, written complete or not at all.
      system: name or function of any system of `systems`, or a learner or model of your own.
      state: of its learner; for a model, its variables.
      **hyperparameters: the keyword arguments that the learner of a system was built with; for a
        learner or model of your own any description of it.

    Raises:
      UserError: the state is not of that system with these keyword arguments, the model has no
        `sample` or `decode`, or the file cannot be written.
    """
    path = expanded(path)
    if path.suffix.lower() != ".zip":
        raise UserError(f"expected a file that ends in .zip, got {path}: rename it")
    name, learner = build(system, hyperparameters)
    check_state(name, learner, state)
    sample_images, decode_latents = learner.sample, learner.decode
    if sample_images is None or decode_latents is None:
        raise UserError(
            "expected a model with `sample` and `decode`, got one without: export one that has them"
        )
    configuration = as_json(hyperparameters)
    labelled = learner.num_classes > 0

    def sample(key: jax.Array, places: jax.Array) -> jax.Array:
        labels = {"labels": places} if labelled else {}
        return sample_images(state, places.shape[0], key, **labels)

    def decode(latents: jax.Array, *labels: jax.Array) -> jax.Array:
        return decode_latents(state, latents, **({"labels": labels[0]} if labels else {}))

    (n,) = jax.export.symbolic_shape("n")
    key = jax.eval_shape(lambda: jax.random.key(0))
    latents = jax.ShapeDtypeStruct((n, learner.latent_size), jnp.float32)
    places = jax.ShapeDtypeStruct((n,), jnp.int32 if labelled else jnp.float32)
    arguments = {"sample": (key, places), "decode": (latents, places)[: 1 + labelled]}
    about = {
        "system": name,
        "hyperparameters": json.loads(configuration),
        "latent_size": learner.latent_size,
        "labelled": labelled,
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for function in (sample, decode):
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)
            program = exported(*arguments[function.__name__]).serialize()
            archive.writestr(function.__name__, bytes(program))
        archive.writestr("about.json", json.dumps(about))
    write_whole(path, buffer.getvalue())
