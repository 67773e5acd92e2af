"""Sets of tensorflow-datasets: those prepared on disk, else fetched, else prepared now."""

import importlib.util
from pathlib import Path

from jaxgen._files import printable, reason
from jaxgen.data.memory import exceeds_share
from jaxgen.data.notices import say
from jaxgen.data.readers import prepared, prepared_stream
from jaxgen.data.resizing import Square, resize_splits
from jaxgen.data.storage import fetch
from jaxgen.data.storage.cache import cached
from jaxgen.data.streaming import IN_MEMORY, Streaming, streamed
from jaxgen.data.suggestions import nearest
from jaxgen.errors import UserError
from jaxgen.types import Dataset, Split

_MOST_SHRUNK = 100


def load_prepared(
    name: str,
    tfds_name: str,
    data_dir: Path,
    target: Square | None,
    streaming: Streaming = IN_MEMORY,
) -> Dataset:
    """Loads the set `tfds_name`, from `data_dir` where it is prepared there.

    Args:
      name: what the data set is called.
      tfds_name: NAME, NAME/CONFIG, or one of these and a version after "/" or ":".
      data_dir: where prepared sets live, or a folder of this set within.
      target: what images become, or None.
      streaming: whether they stay on disk.

    Raises:
      UserError: no such set, or it cannot be had, or its files are damaged.
    """
    path = prepared.find(tfds_name, data_dir)
    base = prepared.split_version(tfds_name)[0]
    if path is None and base in fetch.FETCHABLE:
        source = ("fetched", base)
        return cached(
            name,
            (source, target) if target else source,
            lambda: resize_splits(_fetch(base, data_dir), target),
        )
    if path is None:
        path = _prepare(tfds_name, data_dir)
    if base.split("/")[0] == "emnist":
        say(f"{name}: its images are stored transposed; rows and columns are exchanged")
    if _to_be_streamed(name, path, target, streaming):
        splits, digest = prepared_stream.read(path, target, streaming.fast_fingerprint)
        return streamed(name, _with_test(path, splits), digest)
    source = prepared.source(path)
    dataset = cached(
        name, (source, target) if target else source, lambda: prepared.read(path, target)
    )
    return dataset._replace(splits=_with_test(path, dict(dataset.splits)))


def _to_be_streamed(name: str, path: Path, target: Square | None, streaming: Streaming) -> bool:
    if streaming.stream is not None:
        return streaming.wanted(name, 0)
    # Asking tensorflow-datasets takes seconds; images shrink to a hundredth at the most.
    if not exceeds_share(_MOST_SHRUNK * sum(f.stat().st_size for f in path.iterdir())):
        return False
    return streaming.wanted(name, prepared_stream.decoded_bytes(path, target))


def _fetch(name: str, data_dir: Path) -> dict[str, Split]:
    try:
        return fetch.fetch(name)
    except fetch.FetchError as error:
        raise fetch.FetchError(
            f"{_absent(name, data_dir)} and {error}: pass the folder that holds it (--data-dir "
            "DIR), or a folder of IDX files (--dataset idx:DIR), or use --dataset glyphs"
        ) from error


def _prepare(tfds_name: str, data_dir: Path) -> Path:
    """Downloads and prepares a set through tensorflow-datasets, which needs TensorFlow."""
    import tensorflow_datasets as tfds

    name, version = prepared.split_version(tfds_name)
    try:
        builder_class = tfds.builder_cls(name.partition("/")[0])
    except ValueError:
        known = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"{_absent(name, data_dir)}, and tensorflow-datasets knows no set of this name"
            f"{nearest(name, known, 'tfds:')}: choose another, or pass the folder that holds it "
            "(--data-dir DIR)"
        ) from None
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{_absent(name, data_dir)}, and preparing it needs TensorFlow: "
            "pip install 'jaxgen[tf]', or pass the folder that holds it (--data-dir DIR)"
        )
    try:
        # tensorflow-datasets retries for minutes when the host is unreachable: check that first.
        for url in list(builder_class.url_infos or {})[:1]:
            if url.startswith("http"):
                fetch.open_url(url, fetch.ANSWER_SECONDS).close()
        wanted = f"{name}:{version}" if version else name
        tfds.builder(wanted, data_dir=data_dir).download_and_prepare()
    except Exception as error:
        raise UserError(
            f"{_absent(name, data_dir)} and cannot be prepared: {reason(error)}"
        ) from error
    path = prepared.find(tfds_name, data_dir)
    if path is None:
        raise UserError(
            f"tensorflow-datasets wrote nothing to {printable(data_dir / name)}: choose another set"
        )
    return path


def _absent(name: str, data_dir: Path) -> str:
    missing = "" if data_dir.is_dir() else " (no such directory)"
    return f"{name} is not prepared in {printable(data_dir)}{missing}"


def _with_test(path: Path, splits: dict[str, Split]) -> dict[str, Split]:
    """The splits with "test": the validation split, or else the last tenth of "train"."""
    if "train" not in splits:
        raise UserError(
            f"{printable(path)} has no split train, only {', '.join(splits)}; choose another set"
        )
    if "test" not in splits:
        if "validation" in splits:
            splits["test"] = splits["validation"]
        else:
            images, labels = splits["train"]
            kept = len(images) - len(images) // 10
            splits["train"] = Split(images[:kept], None if labels is None else labels[:kept])
            splits["test"] = Split(images[kept:], None if labels is None else labels[kept:])
    return splits
