"""Work on many pictures at once, with a progress bar where someone is watching."""

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

    In threads: Pillow decodes and resizes without holding the interpreter's lock, and pixels need
    not be sent from process to process. Two threads a core, for the parts that do hold it.
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
    finally:  # an error or Ctrl-C need not wait for what is still to be done
        pool.shutdown(cancel_futures=True)
    return results
