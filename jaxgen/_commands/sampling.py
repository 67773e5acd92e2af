"""Images from a trained run: draws, variations of a picture, walks; and their way into files."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgen._files import expanded, one_line_errors, printable, reason, replacing
from jaxgen.data.resizing import resized, square
from jaxgen.errors import UserError
from jaxgen.evaluation import latents
from jaxgen.learners import with_averaged_generator
from jaxgen.runs import TrainedRun
from jaxgen.types import Array, PyTree
from jaxgen.visualization import grids

AT_ONCE = 256  # images decoded by one call


def images(
    run: TrainedRun,
    *,
    num_samples: int,
    seed: int,
    label: int | None,
    like: Path | None,
    interpolate: tuple[str, str] | None,
    raw: bool,
) -> np.ndarray:
    """What `jaxgen sample` writes; its flags explain the arguments.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: the run's learner has no such thing, or a picture cannot be read.
    """
    least = 2 if interpolate else 1
    if num_samples < least:
        raise UserError(f"expected --num-samples of at least {least}, got {num_samples}")
    if not 0 <= seed < 2**32:
        raise UserError(f"expected --seed from 0 to {2**32 - 1}, got {seed}")
    if like is not None and interpolate is not None:
        raise UserError("expected --like or --interpolate, got both: leave one out")
    state = _sampled_state(run.state, raw)
    labels = _labels(run, label, num_samples, like is not None or interpolate is not None)
    key = jax.random.key(seed)
    if like is not None:
        mean, log_var = _posterior(run, state, like, label)
        noise = jax.random.normal(key, (num_samples, *mean.shape))
        return _decoded(run, state, mean[None] + jnp.exp(log_var[None] / 2) * noise, labels)
    if interpolate is not None:
        return _decoded(run, state, _path(run, state, interpolate, num_samples, label), labels)
    draws = []
    for first in range(0, num_samples, AT_ONCE):
        count = min(AT_ONCE, num_samples - first)
        given = {} if labels is None else {"labels": labels[first : first + count]}
        sample_key = jax.random.fold_in(key, first)
        draws.append(_bytes(run.learner.require("sample")(state, count, sample_key, **given)))
    return np.concatenate(draws)


def check_output(path: Path) -> None:
    """Raises UserError where nothing could be written to `path`."""
    path = expanded(path)
    if path.suffix not in ("", ".png", ".npz"):
        raise UserError(
            f"expected --output as a .png, a .npz or a folder, got {printable(path)}: rename it"
        )
    if not path.suffix and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"expected --output to be a new or empty folder, found {printable(path)}")


def write(path: Path, pictures: np.ndarray) -> None:
    """Writes a grid, arrays, or a folder of pictures, as the suffix of `path` says."""
    path = expanded(path)
    with one_line_errors("write", path, "choose another --output"):
        if path.suffix == ".png":
            grids.save(path, grids.grid(pictures))
        elif path.suffix == ".npz":
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, images=pictures)
        else:
            digits = len(str(len(pictures) - 1))
            for i, picture in enumerate(pictures):
                grids.save(path / f"{i:0{digits}d}.png", picture)


def _sampled_state(state: PyTree, raw: bool) -> PyTree:
    """The state with the averaged generator in place, where there is one and it is wanted."""
    averaged = bool(getattr(state, "ema", None))
    if raw and not averaged:
        raise UserError("expected a run with an averaged generator for --raw: leave --raw out")
    return with_averaged_generator(state) if averaged and not raw else state


def _labels(run: TrainedRun, label: int | None, num_samples: int, of_picture: bool) -> Array | None:
    num_classes = run.learner.num_classes
    if not num_classes:
        if label is not None:
            raise UserError("this run is not conditional on labels: leave --label out")
        return None
    if label is None:
        if of_picture:
            raise UserError("this run is conditional on labels: pass the picture's --label")
        return jnp.arange(num_samples) % num_classes
    if not 0 <= label < num_classes:
        raise UserError(f"expected --label from 0 to {num_classes - 1}, got {label}")
    return jnp.full(num_samples, label)


def _posterior(
    run: TrainedRun, state: PyTree, picture: Path, label: int | None
) -> tuple[Array, Array]:
    """Mean and log_var of q(z|x) for one picture, each [D]."""
    if run.learner.encode is None:
        raise UserError("this run has no encoder: --like takes the run of a VAE")
    given = {} if label is None else {"labels": jnp.array([label])}
    mean, log_var = run.learner.encode(state, _read(picture, run.learner.image_shape), **given)
    return mean[0], log_var[0]


def _path(
    run: TrainedRun, state: PyTree, ends: tuple[str, str], num_steps: int, label: int | None
) -> Array:
    """Latents between two pictures, in a line, or between two seeds, on the sphere."""
    if run.learner.encode is not None:
        a, b = (_posterior(run, state, Path(end), label)[0] for end in ends)
        return latents.interpolation(a, b, num_steps)
    try:
        seeds = [int(end) for end in ends]
    except ValueError:
        raise UserError(
            f"this run has no encoder: expected two seeds for --interpolate, got {' '.join(ends)}"
        ) from None
    shape = (run.learner.latent_size,)
    a, b = (jax.random.normal(jax.random.key(seed), shape) for seed in seeds)
    return latents.interpolation(a, b, num_steps, spherical=True)


def _decoded(run: TrainedRun, state: PyTree, drawn: Array, labels: Array | None) -> np.ndarray:
    parts = []
    for first in range(0, len(drawn), AT_ONCE):
        rows = slice(first, first + AT_ONCE)
        given = {} if labels is None else {"labels": labels[rows]}
        parts.append(_bytes(run.learner.require("decode")(state, drawn[rows], **given)))
    return np.concatenate(parts)


def _read(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
    """A picture file as uint8 [1, H, W, C], its middle cropped to a square where it is none."""
    path = expanded(path)
    height, width, channels = image_shape
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"cannot read the picture {printable(path)} ({reason(error)}): choose another"
        ) from None
    if picture.size != (width, height):
        picture = resized(picture, square(max(height, width), "crop"))
    return np.asarray(picture).reshape(1, height, width, channels)


def _bytes(drawn: Array) -> np.ndarray:
    return np.rint(np.asarray(drawn, np.float32) * 255).astype(np.uint8)
