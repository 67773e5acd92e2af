"""The MNIST family from its original hosts, verified and decoded without TensorFlow."""

import contextlib
import hashlib
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.readers import idx
from jaxgen.data.readers._idx_files import find_files
from jaxgen.data.storage import cache
from jaxgen.errors import UserError
from jaxgen.types import Split

FETCHABLE = ("mnist", "fashion_mnist", "kmnist", "binarized_mnist")
# A host that does not begin to answer within this time counts as unreachable.
ANSWER_SECONDS = 5.0
# A download without data for so long is given up.
_STALL_SECONDS = 15.0
_FETCHING = ".fetching-"


class FetchError(UserError):
    """The data cannot be fetched from their host now."""


def archives(name: str) -> dict[str, tuple[str, str]]:
    """File name -> (URL, SHA-256), as tensorflow-datasets has recorded them for set `name`."""
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos or {}
    return {url.rsplit("/", 1)[-1]: (url, info.checksum) for url, info in infos.items()}


def fetch(name: str, seconds: float = ANSWER_SECONDS) -> dict[str, Split]:
    """Downloads, verifies and decodes one of `FETCHABLE`; the files are deleted afterwards.

    Args:
      name: one of `FETCHABLE`.
      seconds: for each file, time within which its host must begin to answer. A download that
        has begun may take longer; it is given up after 15 s without data.

    Raises:
      FetchError: the host cannot be reached, or the file it sent is not the published one.
    """
    start = time.monotonic()
    files = archives(name)
    with _working_folder() as folder:
        for file, (url, checksum) in files.items():
            left = max(1.0, seconds - (time.monotonic() - start))
            _download(url, checksum, folder / file, left)
            start = time.monotonic()
        if name == "binarized_mnist":
            return {
                split: Split(_read_amat(folder / f"binarized_mnist_{part}.amat"), None)
                for split, part in {"train": "train", "validation": "valid", "test": "test"}.items()
            }
        return idx.read(find_files(folder))


@contextlib.contextmanager
def _working_folder() -> Iterator[Path]:
    """A temporary folder in the cache, or elsewhere where that cannot be written."""
    with contextlib.ExitStack() as stack:
        try:
            cache.remove_leftovers(cache.directory(), _FETCHING)
            folder = stack.enter_context(cache.working_folder(cache.directory(), _FETCHING))
        except OSError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxgen-")))
        yield folder


def open_url(url: str, seconds: float) -> Any:
    """A streaming response to GET `url`, whose headers arrived within `seconds`.

    The request runs in a separate thread, because no timeout of the network libraries covers the
    resolution of the host's name, which can take minutes.

    Raises:
      FetchError: no answer within the time, or one that is not 200.
    """
    import requests

    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(requests.get(url, stream=True, timeout=(seconds, _STALL_SECONDS)))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise FetchError(f"{_host(url)} did not answer within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise FetchError(f"{_host(url)} cannot be reached") from answer
    if answer.status_code != 200:
        answer.close()
        raise FetchError(f"{_host(url)} answered {answer.status_code} to {url}")
    return answer


def _download(url: str, checksum: str, file: Path, seconds: float) -> None:
    import requests
    from tqdm import tqdm

    digest = hashlib.sha256()
    with open_url(url, seconds) as response, file.open("wb") as target:
        size = int(response.headers.get("Content-Length", 0)) or None
        # disable=None: only on a terminal.
        with tqdm(total=size, desc=file.name, unit="B", unit_scale=True, disable=None) as progress:
            try:
                # The bytes as sent: a host may declare .gz files as encoded, and they are not.
                for block in response.raw.stream(1 << 16, decode_content=False):
                    target.write(block)
                    digest.update(block)
                    progress.update(len(block))
            except (requests.RequestException, OSError, _transport_error()) as error:
                raise FetchError(f"the download of {url} failed: {error}") from error
    if digest.hexdigest() != checksum:
        raise FetchError(f"the checksum of {url} as {_host(url)} sent it is not the published one")


def _transport_error() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _host(url: str) -> str:
    return url.split("/")[2]


def _read_amat(file: Path) -> np.ndarray:
    """Larochelle's text format: a row of 784 times 0 or 1 for each image -> 0 or 255."""
    text = np.frombuffer(file.read_bytes(), np.uint8)
    digits = text[text > ord(" ")] - np.uint8(ord("0"))
    if digits.size % 784 or digits.max() > 1:
        raise UserError(f"{file.name} is not rows of 784 zeros and ones")
    return digits.reshape(-1, 28, 28, 1) * np.uint8(255)
