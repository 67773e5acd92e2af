"""`load`: from the name of a data set to its arrays."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from jaxgen._files import expanded
from jaxgen.data.notices import say
from jaxgen.data.preparing import load_prepared
from jaxgen.data.readers import (
    arrays_stream,
    folder,
    folder_stream,
    glyphs,
    idx,
    npz,
    prepared,
)
from jaxgen.data.readers._idx_files import find_files
from jaxgen.data.readers._listing import find_pictures
from jaxgen.data.resizing import Fit, Square, resize_splits, square
from jaxgen.data.storage import fetch
from jaxgen.data.storage.cache import cached
from jaxgen.data.streaming import Streaming, streamed
from jaxgen.data.suggestions import nearest
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

NAMES = (
    "auto",
    *fetch.FETCHABLE,
    "glyphs",
    "tfds:NAME",
    "idx:DIR",
    "folder:DIR",
    "npy:DIR",
    "npz:FILE",
)


def load(
    name: str,
    data_dir: str | PathLike[str] | None = None,
    *,
    resolution: int | None = None,
    fit: Fit = "crop",
    seed: int = 0,
    stream: bool | None = None,
    fast_fingerprint: bool = False,
) -> Dataset:
    """Loads a data set: images [N, H, W, C], int32 labels [N] or None, in memory unless streamed.

    Images are uint8; those of "npz:FILE" may also be float32 in [0, 1].

    Decoded arrays are kept in the user's cache folder (JAXGEN_CACHE_DIR, else
    XDG_CACHE_HOME/jaxgen, else ~/.cache/jaxgen), verified whenever they are read from it.

    The splits keep the names they have in the set. A tensorflow-datasets set without "test" gets
    one: its "validation" if there is one, else the last tenth of "train", which loses it.

    Args:
      name: one of
        "mnist", "fashion_mnist", "kmnist", "binarized_mnist": as prepared by tensorflow-datasets
          in `data_dir`, else as published, fetched and verified; never another set;
        "tfds:NAME", "tfds:NAME/CONFIG", either with a version as in "tfds:mnist/3.0.1": any image
          set of tensorflow-datasets. It is read from `data_dir`; if it is not there it is
          prepared, which needs the extra `tf`;
        "idx:DIR": a folder of IDX files with the names of MNIST, EMNIST, QMNIST and their like,
          compressed or not, or torchvision's or Kaggle's folder of them; of several sets
          "idx:DIR/emnist-letters" is one;
        "folder:DIR": a folder of pictures, as RGB: one sub-folder for each class or all in one,
          of which a tenth is held out as "test"; or the same in sub-folders train and test, val,
          valid or validation;
        "npy:DIR": a folder of files that np.save has written, train_images.npy and, where there
          are, train_labels.npy, test_images.npy and test_labels.npy; or one .npy file of images;
        "npz:FILE": an archive that np.savez has written, with train_images and, where there are,
          train_labels, test_images and test_labels, as `from_arrays` takes them;
        "glyphs": 60,000 + 10,000 digits drawn from matplotlib's fonts, without a download;
        "auto": see `load_auto`.
      data_dir: where prepared sets live, or the folder of this set or of one of its versions;
        None is TFDS_DATA_DIR, else ~/tensorflow_datasets.
      resolution: height and width that images are resized to, antialiased; None keeps their
        size, which has to be the same for all.
      fit: how an image that is not square becomes one: "crop" keeps the middle, "squash" keeps
        everything, distorted.
      seed: decides, together with the names of the files alone, which pictures of a folder are
        held out.
      stream: whether training images stay on disk, to be read while they are used: the split
        "train" then has `LazyImages`, the others arrays. For "folder:", "tfds:", "npy:" and
        "npz:". None streams a set that would take more than half of the available memory, and says
        so.
      fast_fingerprint: of a streamed set: take its fingerprint of the names, sizes and times of its
        files, instead of reading them.

    Raises:
      UserError: no such set, it cannot be obtained, or its files are damaged.
    """
    data_dir = expanded(data_dir) if data_dir else prepared.default_dir()
    streaming = Streaming(stream, fast_fingerprint)
    if name == "auto":
        streaming.refuse(name)
        return load_auto(data_dir, resolution=resolution, fit=fit)
    return _load(name, data_dir, square(resolution, fit), seed, streaming)


def load_auto(
    data_dir: str | PathLike[str] | None = None,
    announce: Callable[[str], object] = print,
    *,
    resolution: int | None = None,
    fit: Fit = "crop",
) -> Dataset:
    """MNIST if it is on disk or can be fetched, else the glyph digits; see `name` of the result.

    On disk means prepared in `data_dir`, or fetched before and still in the cache. It can be
    fetched if its host begins to answer within 5 s; the download itself (11 MB) has no time limit,
    but is given up after 15 s without data. Prepared MNIST that is damaged is an
    error, not a reason for glyphs.

    Args:
      data_dir: as in `load`.
      announce: called with one line where glyphs replace MNIST.
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


def _load(
    name: str, data_dir: Path, target: Square | None, seed: int, streaming: Streaming
) -> Dataset:
    """Chooses the reader that the name asks for."""
    kind, _, rest = name.partition(":")
    if kind in ("folder", "npy", "npz") and rest:
        return _load_files(name, kind, expanded(rest), target, seed, streaming)
    if kind == "tfds" and rest:
        return load_prepared(name, rest, data_dir, target, streaming)
    if name in NAMES or kind == "idx":
        streaming.refuse(name)
    if name == "glyphs":
        return _cached_and_resized(name, glyphs.source(), glyphs.draw, target)
    if kind == "idx" and rest:
        files = find_files(expanded(rest))
        if files.transposed:
            say(f"{name}: its images are stored transposed; rows and columns are exchanged")
        return _cached_and_resized(name, idx.source(files), lambda: idx.read(files), target)
    if name in fetch.FETCHABLE:
        return load_prepared(name, name, data_dir, target)
    raise UserError(
        f"unknown data set {name!r}{nearest(name, NAMES)}: expected one of {', '.join(NAMES)}"
    )


def _load_files(
    name: str, kind: str, place: Path, target: Square | None, seed: int, streaming: Streaming
) -> Dataset:
    """A folder of pictures, or arrays on disk."""
    fast = streaming.fast_fingerprint
    if kind == "folder":
        parts = find_pictures(place)
        if streaming.wanted(name, folder_stream.decoded_bytes(parts, target)):
            return streamed(name, *folder_stream.read(place, parts, target, seed, fast))
        source = folder.source(place, parts, target, seed)
        return cached(name, source, lambda: folder.read(place, parts, target, seed))
    if kind == "npy":
        files = arrays_stream.find_arrays(place)
        if streaming.wanted(name, sum(file.stat().st_size for file in files.values())):
            return streamed(name, *arrays_stream.read_lazily(files, target, fast))
        source = arrays_stream.source(files)
        return _cached_and_resized(name, source, lambda: arrays_stream.read(files), target)
    source = npz.source(place)
    # A compressed archive cannot be streamed: reading it so raises an error that says why.
    if streaming.stream or not arrays_stream.is_compressed(place):
        if streaming.wanted(name, place.stat().st_size):
            return streamed(name, *arrays_stream.read_archive_lazily(place, target, fast))
    return _cached_and_resized(name, source, lambda: npz.read(place), target)


def _cached_and_resized(
    name: str, source: tuple[Any, ...], make: Callable[[], dict[str, Split]], target: Square | None
) -> Dataset:
    source = (source, target) if target else source
    return cached(name, source, lambda: resize_splits(make(), target))
