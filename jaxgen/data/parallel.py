"""Work on many images in parallel, with a progress bar on a terminal."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16


def map_pictures(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> list[Result]:
    """[function(item) for item in items], on all cores.

    Threads suffice, because Pillow releases the interpreter's lock while it decodes and
    resizes, and pixels are not copied between processes. There are two per core, because parts of
    the work hold the lock.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    results: list[Result] = []
    pool = ThreadPoolExecutor(2 * (os.cpu_count() or 1))
    try:
        futures = [pool.submit(lambda chunk: list(map(function, chunk)), c) for c in chunks]
        # disable=None: only on a terminal.
        with tqdm(total=len(items), desc=description, leave=False, disable=None) as progress:
            for future in futures:
                done = future.result()
                results.extend(done)
                progress.update(len(done))
    finally:  # after an error or Ctrl-C nothing more is started
        pool.shutdown(cancel_futures=True)
    return results
