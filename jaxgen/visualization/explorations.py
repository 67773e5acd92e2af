"""What there is to explore in a trained learner: `explore`."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, Learner, PyTree
from jaxgen.visualization.explorer import (
    MAX_WEIGHT_BYTES,
    Exploration,
    Precomputed,
    principal_axes,
)
from jaxgen.visualization.programs import Program, UntranslatableError, rounded, translate

NUM_IMAGES = 2000
NUM_SAMPLES = 60  # where there is no encoder to place images on the map
AT_ONCE = 256
MAP_STEPS = 13  # precomputed latents on each side of the map
WALK_DIMENSIONS, WALK_STEPS, REACH = 8, 9, 3.0
MAX_PRECOMPUTED_BYTES = 8 * 10**6


def explore(
    learner: Learner,
    state: PyTree,
    images: np.ndarray,
    labels: np.ndarray | None,
    key: Array,
    *,
    title: str,
    facts: Mapping[str, str],
    class_names: Sequence[str] | None = None,
    training_images: np.ndarray | None = None,
) -> Exploration:
    """Gathers what the explorer of a learner shows.

    A learner with an encoder is shown by its posterior means of `images`: the activity of a
    dimension is the mean of KL(q(z_d|x) || N(0, 1)), and the map is the plane of their first two
    principal components. One without is shown by samples: the activity is the mean square of the
    derivative of the pixels, and the map is the plane of the two most active dimensions.

    Args:
      learner: a system with a decoder.
      state: its state.
      images: held-out images, uint8 [N, H, W, C]; the first 2,000 are used.
      labels: int [N], or None.
      key: of the latents that samples and derivatives are taken at.
      title: of the page.
      facts: what is explored, name -> value.
      class_names: by label; the numbers themselves where None.
      training_images: uint8 [M, H, W, C], to find the nearest of, or None.
    """
    images, labels = images[:NUM_IMAGES], None if labels is None else labels[:NUM_IMAGES]
    if learner.encode is None:
        labels = np.arange(NUM_SAMPLES) % learner.num_classes if learner.num_classes else None
        latents = np.asarray(jax.random.normal(key, (NUM_SAMPLES, learner.latent_size)))
        decoded = decode_all(learner, state, latents, labels)
        activity = _sensitivity(learner, state, latents, labels)
        activity_name = "influence on the picture (mean square of the derivative of a pixel)"
        order = np.argsort(-activity, kind="stable")[:2]
        center, axes = np.zeros(learner.latent_size), np.eye(learner.latent_size)[order]
        axis_names = tuple(f"latent {dimension}" for dimension in order)
        images, image_name = decoded, "sample"
    else:
        latents, activity = _posterior(learner, state, images, labels)
        activity_name = "mean KL to the prior, in nats"
        center, axes = principal_axes(latents)
        axis_names, image_name = ("first principal component", "second one"), "test image"
    if len(axes) == 1:  # a single latent dimension: the map is a line
        axes, axis_names = np.concatenate([axes, np.zeros_like(axes)]), (axis_names[0], "nothing")
    names = [] if labels is None else list(class_names or map(str, range(int(labels.max()) + 1)))
    decoder = _decoder(learner, state, center, axes, latents, activity)
    return Exploration(
        title=title,
        facts=facts,
        decoder=decoder,
        image_shape=learner.image_shape,
        latents=latents,
        images=images,
        image_name=image_name,
        labels=labels,
        class_names=names,
        num_classes=learner.num_classes,
        activity=activity,
        activity_name=activity_name,
        center=center,
        axes=axes,
        axis_names=(axis_names[0], axis_names[1]),
        training_images=training_images,
    )


def decoder_program(learner: Learner, state: PyTree) -> Program:
    """`learner.decode` of one latent (and one label where conditional), weights rounded to float16.

    Raises:
      UntranslatableError: where the decoder uses an operation that has no translation.
    """
    decode, half = learner.require("decode"), rounded(state)
    latents = jax.ShapeDtypeStruct((1, learner.latent_size), jnp.float32)
    if not learner.num_classes:
        return translate(lambda z: decode(half, z), latents)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    return translate(lambda z, y: decode(half, z, labels=y), latents, labels)


def decode_all(
    learner: Learner, state: PyTree, latents: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """Pictures of many latents in bounded memory: [N, D] -> uint8 [N, H, W, C]."""
    parts = []
    for rows in _stretches(len(latents)):
        given = _given(learner, labels, rows)
        decoded = learner.require("decode")(state, jnp.asarray(latents[rows], jnp.float32), **given)
        parts.append(np.rint(np.asarray(decoded) * 255).astype(np.uint8))
    return np.concatenate(parts)


def _posterior(
    learner: Learner, state: PyTree, images: np.ndarray, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means [N, D], and the mean KL of each dimension in nats [D].

    Of a plain autoencoder, whose codes are points, the variance of each dimension stands in.
    """
    assert learner.encode is not None
    parts = [
        learner.encode(state, jnp.asarray(images[rows]), **_given(learner, labels, rows))
        for rows in _stretches(len(images))
    ]
    mean, log_var = (
        np.concatenate([np.asarray(part[i], np.float64) for part in parts]) for i in range(2)
    )
    if np.isneginf(log_var).all():
        return mean, mean.var(axis=0)
    return mean, np.mean(0.5 * (mean**2 + np.exp(log_var) - 1 - log_var), axis=0)


def _sensitivity(
    learner: Learner, state: PyTree, latents: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """Mean over latents and pixels of (d pixel / d latent_d)², [D]."""
    rows = slice(0, 16)
    given = _given(learner, labels, rows)
    points = jnp.asarray(latents[rows])

    def along(direction: Array) -> Array:
        moved = jnp.broadcast_to(direction, points.shape)
        _, change = jax.jvp(
            lambda z: learner.require("decode")(state, z, **given), (points,), (moved,)
        )
        return jnp.mean(change**2)

    return np.asarray(jax.lax.map(along, jnp.eye(points.shape[1])))


def _decoder(
    learner: Learner,
    state: PyTree,
    center: np.ndarray,
    axes: np.ndarray,
    latents: np.ndarray,
    activity: np.ndarray,
) -> Program | Precomputed:
    try:
        program = decoder_program(learner, state)
    except UntranslatableError as error:
        reason = f"it uses an operation that a page cannot run ({error})"
    else:
        size = program.num_bytes()
        if size <= MAX_WEIGHT_BYTES:
            return program
        reason = f"its weights take {size / 1e6:.1f} MB, more than {MAX_WEIGHT_BYTES / 1e6:.0f} MB"
    chosen = _precomputed_latents(center, axes, latents, activity)
    classes = max(1, learner.num_classes)
    room = MAX_PRECOMPUTED_BYTES // (classes * int(np.prod(learner.image_shape)))
    chosen = chosen[:: -(-len(chosen) // max(1, room))]
    labels = np.repeat(np.arange(classes), len(chosen)) if learner.num_classes else None
    repeated = np.tile(chosen, (classes, 1))
    return Precomputed(repeated, decode_all(learner, state, repeated, labels), labels, reason)


def _precomputed_latents(
    center: np.ndarray, axes: np.ndarray, latents: np.ndarray, activity: np.ndarray
) -> np.ndarray:
    """A grid over the map, and walks along the most active dimensions: [P, D]."""
    largest = np.abs((latents - center) @ axes.T).max(initial=0.0)
    steps = np.linspace(-largest, largest, MAP_STEPS)
    over_map = [center + x * axes[0] + y * axes[1] for x in steps for y in steps]
    along = [
        center + value * np.eye(len(center))[dimension]
        for dimension in np.argsort(-activity, kind="stable")[:WALK_DIMENSIONS]
        for value in np.linspace(-REACH, REACH, WALK_STEPS)
    ]
    return np.stack([*over_map, *along])


def _given(learner: Learner, labels: np.ndarray | None, rows: slice) -> dict[str, Array]:
    """The labels of some rows as a keyword argument, where the learner is conditional."""
    if not learner.num_classes or labels is None:
        return {}
    return {"labels": jnp.asarray(labels[rows], jnp.int32)}


def _stretches(count: int) -> list[slice]:
    return [slice(first, first + AT_ONCE) for first in range(0, count, AT_ONCE)]
