"""The page that walks through a latent space: `explorer_page`.

It decodes in the browser, from the decoder's own weights in float16 where the decoder can be
translated and is small enough, else from pictures made beforehand.
"""

import math
from collections.abc import Mapping, Sequence
from string import Template
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from jaxgen.visualization._colors import CLASS_COLORS, class_colors
from jaxgen.visualization._pages import ASSETS, page, picture, text
from jaxgen.visualization.grids import grid
from jaxgen.visualization.programs import Program

MAX_WEIGHT_BYTES = 12 * 10**6  # 6 million parameters; 16 MB of the page's 20
MAX_PIXEL_BYTES = 2 * 10**6  # of each sheet of images, before compression
MAX_SIDE = 48  # pixels of an image on a sheet; larger ones are reduced
NUM_FIRST = 10  # sliders that are shown at once
NUM_THUMBNAILS = 60
NUM_NEAREST = 6
NUM_BETWEEN = 9


class Precomputed(NamedTuple):
    """Pictures in place of a decoder: the page shows that of the nearest latents.

    Attributes:
      latents: [P, D].
      images: uint8 [P, H, W, C].
      labels: int [P], or None where the system is not conditional.
      reason: why the decoder is not in the page, one phrase.
    """

    latents: np.ndarray
    images: np.ndarray
    labels: np.ndarray | None
    reason: str


class Exploration(NamedTuple):
    """What an explorer shows.

    Attributes:
      title: of the page.
      facts: what is explored: name -> value.
      decoder: latents (and a label where conditional) to an image in [0, 1].
      image_shape: (H, W, C).
      latents: [N, D], of the images.
      images: uint8 [N, H, W, C]; only as many as fit are kept, from the first.
      image_name: what one of them is: "test image" or "sample".
      labels: classes of the images, int [N], or None.
      class_names: a name for each class; [] where there are none.
      num_classes: where not 0, the decoder takes a label in 0..num_classes - 1.
      activity: how much each latent dimension matters, [D].
      activity_name: what that measures, with its unit.
      center: [D], the middle of the map.
      axes: [2, D], orthonormal: the plane of the map.
      axis_names: what the two axes are.
      training_images: uint8 [M, H, W, C] to find the nearest of, or None.
    """

    title: str
    facts: Mapping[str, str]
    decoder: Program | Precomputed
    image_shape: tuple[int, int, int]
    latents: np.ndarray
    images: np.ndarray
    image_name: str
    labels: np.ndarray | None
    class_names: Sequence[str]
    num_classes: int
    activity: np.ndarray
    activity_name: str
    center: np.ndarray
    axes: np.ndarray
    axis_names: tuple[str, str]
    training_images: np.ndarray | None = None


def explorer_page(exploration: Exploration) -> str:
    """The page as one HTML file that needs neither network nor server."""
    it = exploration
    thumbnails = _thumbnails(it.images)
    data: dict[str, Any] = {"about": _about(it, thumbnails)}
    data["latents"] = np.asarray(it.latents[: len(thumbnails)], "<f4").tobytes()
    if isinstance(it.decoder, Program):
        data["weights"] = it.decoder.weights()
    else:
        data["precomputed-latents"] = np.asarray(it.decoder.latents, "<f4").tobytes()
        data["precomputed-pictures"] = np.ascontiguousarray(it.decoder.images).tobytes()
    training = None if it.training_images is None else _thumbnails(it.training_images)
    if training is not None:
        data["about"]["training"] = {"count": len(training), "columns": _columns(len(training))}
    scripts = ("engine.js", "pictures.js", "map.js", "explorer.js")
    body = _body(it, thumbnails, training)
    return page(it.title, body, styles=("explorer.css",), scripts=scripts, data=data)


def principal_axes(latents: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The mean [D] of latents [N, D], and the two directions of largest variance [2, D].

    The sign of a direction is free: here its entry of largest magnitude is positive.
    """
    values = np.asarray(latents, np.float64)
    center = values.mean(axis=0)
    _, _, directions = np.linalg.svd(values - center, full_matrices=True)
    axes = directions[:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return center, axes * np.sign(largest)


def _about(it: Exploration, thumbnails: np.ndarray) -> dict[str, Any]:
    """What explorer.js reads besides bytes."""
    count = len(thumbnails)
    decoder: dict[str, Any] = {}
    if isinstance(it.decoder, Program):
        decoder["program"] = it.decoder.description()
    else:
        labels = None if it.decoder.labels is None else it.decoder.labels.tolist()
        decoder["precomputed"] = {"count": len(it.decoder.latents), "labels": labels}
    reach = max(3.0, math.ceil(np.abs(it.latents[:count]).max(initial=0.0)))
    return decoder | {
        "imageShape": it.image_shape,
        "latentSize": it.latents.shape[1],
        "numClasses": it.num_classes,
        "classNames": list(it.class_names),
        "classColours": class_colors(len(it.class_names)),
        "hasLegend": len(it.class_names) <= len(CLASS_COLORS),
        "numImages": count,
        "imageName": it.image_name,
        "labels": None if it.labels is None else it.labels[:count].tolist(),
        "thumbnail": thumbnails.shape[1:3],
        "columns": _columns(count),
        "numThumbnails": NUM_THUMBNAILS,
        "order": np.argsort(-it.activity, kind="stable").tolist(),
        "activity": it.activity.tolist(),
        "activityName": it.activity_name,
        "numFirst": NUM_FIRST,
        "center": it.center.tolist(),
        "axes": it.axes.tolist(),
        "reach": reach,
    }


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """As many of the images as fit on a sheet, none of them larger than MAX_SIDE."""
    factor = min(1.0, MAX_SIDE / max(images.shape[1:3]))
    height, width = (max(1, round(factor * size)) for size in images.shape[1:3])
    kept = images[: max(2, MAX_PIXEL_BYTES // (height * width * images.shape[3]))]
    if factor == 1.0:
        return kept
    channels = [
        [
            Image.fromarray(image[..., c]).resize((width, height), Image.Resampling.BOX)
            for image in kept
        ]
        for c in range(images.shape[3])
    ]
    return np.stack([np.stack([np.asarray(x) for x in one]) for one in channels], axis=-1)


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _sheet(identifier: str, thumbnails: np.ndarray) -> str:
    """An element that holds the images side by side, read by the scripts and not shown."""
    whole = grid(thumbnails, _columns(len(thumbnails)), padding=0)
    return f'<img id="{identifier}" hidden alt="" src="{picture(whole)}">'


def _body(it: Exploration, thumbnails: np.ndarray, training: np.ndarray | None) -> str:
    count, num_more = len(thumbnails), it.latents.shape[1] - NUM_FIRST
    height, width = thumbnails.shape[1:3]
    reduced = (height, width) != it.images.shape[1:3]
    sheets = {"images": thumbnails}
    if training is not None:
        sheets["training-images"] = training
    return Template((ASSETS / "explorer.html").read_text()).substitute(
        title=text(it.title),
        facts=" · ".join(f"{text(name)}: {text(value)}" for name, value in it.facts.items()),
        condition=_condition(it),
        note=_note(it.decoder),
        image_name=text(it.image_name),
        first_axis=text(it.axis_names[0]),
        second_axis=text(it.axis_names[1]),
        activity_name=text(it.activity_name),
        no_more="hidden" if num_more <= 0 else "",
        num_more=num_more,
        between_cells='<canvas class="pixels" aria-hidden="true"></canvas>' * NUM_BETWEEN,
        num_listed=min(count, NUM_THUMBNAILS),
        num_images=count,
        reduced=f"They are shown reduced to {width} by {height} pixels." if reduced else "",
        training="" if training is None else _nearest(len(training)),
        sheets="\n".join(_sheet(name, images) for name, images in sheets.items()),
    )


def _condition(it: Exploration) -> str:
    if not it.num_classes:
        return ""
    names = [*it.class_names, *range(len(it.class_names), it.num_classes)]
    options = [
        f'<option value="{n}">{text(name)}</option>'
        for n, name in enumerate(names[: it.num_classes])
    ]
    return (
        '<div class="row"><label for="condition">class</label>'
        f'<select id="condition">{"".join(options)}</select></div>'
    )


def _note(decoder: Program | Precomputed) -> str:
    if isinstance(decoder, Program):
        return '<p class="quiet">The decoder runs in this page, its weights rounded to float16.</p>'
    return (
        f"<p><strong>The decoder is not in this page: {text(decoder.reason)}.</strong> The picture "
        f"shown is that of the nearest of {len(decoder.latents)} latents that were decoded "
        "beforehand.</p>"
    )


def _nearest(count: int) -> str:
    figure = (
        '<figure><canvas class="pixels" aria-hidden="true"></canvas>'
        '<figcaption class="quiet"></figcaption></figure>'
    )
    return (
        '<section aria-labelledby="nearest-heading">'
        '<h2 id="nearest-heading">Nearest training images</h2>'
        f"<p>Of {count} training images those most like the decoded picture, with the root mean "
        "square of the difference of their pixels.</p>"
        f'<div id="nearest" class="strip">{figure * NUM_NEAREST}</div></section>'
    )
