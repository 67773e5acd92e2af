"""The likelihood as it is reported, and what is kept of an interrupted estimate."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen._files import replacing
from jaxgen.errors import UserError
from jaxgen.evaluation._density import check_score
from jaxgen.evaluation.bits import bits_per_dimension, dequantized
from jaxgen.evaluation.likelihood import (
    FEW_EFFECTIVE_SAMPLES,
    ImportanceEstimate,
    importance_chunks,
)
from jaxgen.types import Array, Learner, PyTree

FIELDS = ImportanceEstimate._fields


def likelihood_report(
    learner: Learner,
    state: PyTree,
    images: np.ndarray,
    key: Array,
    num_samples: int,
    labels: np.ndarray | None,
    *,
    score: bool,
    partial: Path | None,
    progress: Callable[[str, int, int], object] | None,
    notes: list[str],
) -> dict[str, Any] | None:
    """Estimates log p(x) of the images; None, with a note, where the model has none."""
    try:
        density = check_score(learner, score)
    except UserError as error:
        notes.append(str(error))
        return None
    dequantize = not density.discrete and density.unnormalized is None and images.dtype == np.uint8
    noise_key, estimate_key = jax.random.split(key)
    seen = np.asarray(dequantized(images, noise_key)) if dequantize else images
    settings = _fingerprint(state, seen, key, num_samples, labels)
    parts = _kept(partial, settings)
    done = sum(len(part.elbo) for part in parts)
    if done < len(images):
        chunks = importance_chunks(
            learner, state, seen, estimate_key, num_samples, labels, start=done, score=score
        )
        for part in chunks:
            parts.append(part)
            done += len(part.elbo)
            _keep(partial, settings, parts)
            if progress is not None:
                progress("likelihood", done, len(images))
    estimate = _joined(parts)
    if estimate.warning:
        notes.append(estimate.warning)
    return _described(estimate, num_samples, density.unnormalized) | (
        {
            "bits_per_dimension": float(
                bits_per_dimension(estimate.log_likelihood, learner.image_shape).mean()
            ),
            "dequantization": "uniform, (v + u) / 256, one draw per image",
        }
        if dequantize
        else {}
    )


def _described(
    estimate: ImportanceEstimate, num_samples: int, unnormalized: str | None
) -> dict[str, Any]:
    name = "log_likelihood" if unnormalized is None else "score"
    size = estimate.effective_sample_size
    return {
        name: estimate.mean,
        "standard_error": estimate.standard_error if len(size) > 1 else None,
        "elbo" if unnormalized is None else "score_of_one_sample": float(estimate.elbo.mean()),
        "num_samples": num_samples,
        "unit": "nats per image" if unnormalized is None else f"no nats: {unnormalized}",
        "effective_sample_size_median": float(np.median(size)),
        "effective_sample_size_least": float(size.min()),
        "images_with_few_effective_samples": int((size < FEW_EFFECTIVE_SAMPLES).sum()),
        "estimated_bias": float(-0.5 * (1 / size - 1 / num_samples).mean()),
    }


def _joined(parts: list[ImportanceEstimate]) -> ImportanceEstimate:
    return ImportanceEstimate(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _kept(path: Path | None, settings: str) -> list[ImportanceEstimate]:
    """What an interrupted evaluation with the same settings has left."""
    if path is None or not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["settings"]) != settings:
                return []
            return [ImportanceEstimate(*(file[field] for field in FIELDS))]
    except (OSError, ValueError, KeyError):  # damaged: it is only a saving of time
        return []


def _keep(path: Path | None, settings: str, parts: list[ImportanceEstimate]) -> None:
    if path is None:
        return
    arrays: dict[str, Any] = dict(zip(FIELDS, _joined(parts), strict=True))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, settings=np.array(settings), **arrays)


def _fingerprint(
    state: PyTree, images: np.ndarray, key: Array, num_samples: int, labels: np.ndarray | None
) -> str:
    """Equal for evaluations whose estimates can be joined."""
    digest = hashlib.sha256(json.dumps([num_samples, list(images.shape)]).encode())
    arrays = [*jax.tree.leaves(state), images, jax.random.key_data(key)]
    for array in (*arrays, *(() if labels is None else (labels,))):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
