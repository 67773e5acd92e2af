"""`load`: from the name of a data set to its arrays."""

import difflib
import importlib.util
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from jaxgen._files import expanded
from jaxgen.data.readers import folder, glyphs, idx, npz, prepared
from jaxgen.data.readers._listing import find_pictures
from jaxgen.data.resizing import Fit, Square, resize_splits, square
from jaxgen.data.storage import fetch
from jaxgen.data.storage.cache import cached
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

NAMES = ("auto", *fetch.FETCHABLE, "glyphs", "tfds:NAME", "idx:DIR", "folder:DIR", "npz:FILE")


def load(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    *,
    resolution: int | None = None,
    fit: Fit = "crop",
    seed: int = 0,
) -> Dataset:
    """Loads a data set into memory: images [N, H, W, C], int32 labels [N] or None.

    Images are uint8; those of "npz:FILE" may also be float32 in [0, 1].

    Decoded arrays are kept in the user's cache folder (JAXGEN_CACHE_DIR, else
    XDG_CACHE_HOME/jaxgen, else ~/.cache/jaxgen), verified whenever they are read from it.

    The splits keep the names they have in the set. A tensorflow-datasets set without "test" gets
    one: its "validation" if there is one, else the last tenth of "train", taken away from it.

    Args:
      name: one of
        "mnist", "fashion_mnist", "kmnist", "binarized_mnist": as prepared by tensorflow-datasets
          in `data_dir`, else as published, fetched and verified; nothing else ever;
        "tfds:NAME", "tfds:NAME/CONFIG": any image set of tensorflow-datasets. It is read from
          `data_dir`; if it is not there it is prepared, which needs the extra `tf`;
        "idx:DIR": a folder of IDX files, compressed or not, or torchvision's folder of them;
        "folder:DIR": a folder of pictures, as RGB: one sub-folder for each class or all in one,
          of which a tenth is held out as "test"; or the same in sub-folders train and test, val,
          valid or validation;
        "npz:FILE": an archive that np.savez has written, with train_images and, where there are,
          train_labels, test_images and test_labels, as `from_arrays` takes them;
        "glyphs": 60,000 + 10,000 digits drawn from matplotlib's fonts, always at hand;
        "auto": see `load_auto`.
      data_dir: where prepared sets live; None is TFDS_DATA_DIR, else ~/tensorflow_datasets.
      resolution: height and width that images are resized to, antialiased; None leaves them as
        they are, which takes images of one size.
      fit: how an image that is no square becomes one: "crop" keeps the middle, "squash" keeps
        everything, distorted.
      seed: which pictures of a folder are held out: it is decided by a hash of the seed and the
        file's name, and by nothing else.

    Raises:
      UserError: no such set, or it is not to be had, or its files are damaged.
    """
    data_dir = expanded(data_dir) if data_dir else prepared.default_dir()
    target = square(resolution, fit)
    kind, _, rest = name.partition(":")
    if name == "auto":
        return load_auto(data_dir, resolution=resolution, fit=fit)
    if name == "glyphs":
        return _cached_and_resized(name, glyphs.source(), glyphs.draw, target)
    if kind == "idx" and rest:
        files = idx.find(expanded(rest))
        return _cached_and_resized(name, idx.source(files), lambda: idx.read(files), target)
    if kind == "folder" and rest:
        place = expanded(rest)
        parts = find_pictures(place)
        source = folder.source(place, parts, target, seed)
        return cached(name, source, lambda: folder.read(place, parts, target, seed))
    if kind == "npz" and rest:
        file = expanded(rest)
        return _cached_and_resized(name, npz.source(file), lambda: npz.read(file), target)
    if kind == "tfds" and rest:
        return _load_tfds(name, rest, data_dir, target)
    if name in fetch.FETCHABLE:
        return _load_tfds(name, name, data_dir, target)
    raise UserError(
        f"unknown data set {name!r}{_nearest(name, NAMES)}: expected one of {', '.join(NAMES)}"
    )


def load_auto(
    data_dir: str | PathLike[str] | None = None,
    announce: Callable[[str], object] = print,
    *,
    resolution: int | None = None,
    fit: Fit = "crop",
) -> Dataset:
    """MNIST if it is on disk or can be had, else the glyph digits; `name` of the result tells.

    On disk means prepared in `data_dir`, or fetched before and still in the cache. It can be had
    if its host begins to answer within 5 s; the download itself (11 MB) may then take as long as
    it needs, unless it breaks off or stands still for 15 s. Prepared MNIST that is damaged is an
    error, not a reason for glyphs.

    Args:
      data_dir: as in `load`.
      announce: called with one line if it is glyphs.
      resolution: as in `load`.
      fit: as in `load`.

    Raises:
      UserError: MNIST is there but damaged.
    """
    try:
        return load("mnist", data_dir, resolution=resolution, fit=fit)
    except fetch.FetchError as error:
        reason = error.__cause__ or error
        announce(f"No MNIST on disk, and {reason}: using the generated digits (glyphs) instead")
        return load("glyphs", resolution=resolution, fit=fit)


def _cached_and_resized(
    name: str, source: tuple[Any, ...], make: Callable[[], dict[str, Split]], target: Square | None
) -> Dataset:
    source = (source, target) if target else source
    return cached(name, source, lambda: resize_splits(make(), target))


def _load_tfds(name: str, tfds_name: str, folder: Path, target: Square | None) -> Dataset:
    path = prepared.find(tfds_name, folder)
    if path is None and tfds_name in fetch.FETCHABLE:
        return _cached_and_resized(
            name, ("fetched", tfds_name), lambda: _fetch(tfds_name, folder), target
        )
    if path is None:
        path = _prepare(tfds_name, folder)
    source = prepared.source(path)
    source = (source, target) if target else source
    dataset = cached(name, source, lambda: prepared.read(path, target))
    return dataset._replace(splits=_with_test(path, dict(dataset.splits)))


def _fetch(name: str, folder: Path) -> dict[str, Split]:
    try:
        return fetch.fetch(name)
    except fetch.FetchError as error:
        raise fetch.FetchError(
            f"{_absent(name, folder)} and {error}: pass the folder that holds it (--data-dir DIR), "
            "or a folder of IDX files (--dataset idx:DIR), or use --dataset glyphs"
        ) from error


def _prepare(name: str, folder: Path) -> Path:
    """Has tensorflow-datasets download and prepare a set, which takes TensorFlow."""
    import tensorflow_datasets as tfds

    try:
        builder_class = tfds.builder_cls(name.partition("/")[0])
    except ValueError:
        known = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"{_absent(name, folder)}, and tensorflow-datasets knows no set of this name"
            f"{_nearest(name, known, 'tfds:')}: choose another, or pass the folder that holds it "
            "(--data-dir DIR)"
        ) from None
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{_absent(name, folder)}, and to prepare it takes TensorFlow: "
            "pip install 'jaxgen[tf]', or pass the folder that holds it (--data-dir DIR)"
        )
    try:
        # tensorflow-datasets tries for minutes to reach a host that is not there: ask it first.
        for url in list(builder_class.url_infos or {})[:1]:
            if url.startswith("http"):
                fetch.open_url(url, fetch.ANSWER_SECONDS).close()
        tfds.builder(name, data_dir=folder).download_and_prepare()
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{_absent(name, folder)} and cannot be prepared: {reason}") from error
    path = prepared.find(name, folder)
    if path is None:
        raise UserError(f"tensorflow-datasets left nothing at {folder / name}: choose another set")
    return path


def _absent(name: str, folder: Path) -> str:
    missing = "" if folder.is_dir() else " (no such directory)"
    return f"{name} is not prepared in {folder}{missing}"


def _with_test(path: Path, splits: dict[str, Split]) -> dict[str, Split]:
    if "train" not in splits:
        raise UserError(f"{path} has no split train, only {', '.join(splits)}; choose another set")
    if "test" not in splits:
        if "validation" in splits:
            splits["test"] = splits["validation"]
        else:
            images, labels = splits["train"]
            kept = len(images) - len(images) // 10
            splits["train"] = Split(images[:kept], None if labels is None else labels[:kept])
            splits["test"] = Split(images[kept:], None if labels is None else labels[kept:])
    return splits


def _nearest(name: str, known: Sequence[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name.lower(), known)
    return f" (did you mean {' or '.join(prefix + other for other in near)}?)" if near else ""
