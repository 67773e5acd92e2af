"""What every test runs under."""

import functools
import gzip
import os
import shutil
import signal
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import numpy as np
import pytest

from jaxgen import systems
from jaxgen.convolutions import onednn

jax.config.update("jax_numpy_rank_promotion", "raise")

# Programs that call oneDNN cannot be kept from one test to the next; its own tests turn it on.
if jaxlib.version.__version__ == onednn.VERSION:
    os.environ["JAXGEN_ONEDNN"] = "0"

# Under nohup, or as a background job of a script, the tests inherit ignored signals, and so would
# the processes that they send signals to.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

DATA = Path(os.environ.get("JAXGEN_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


# Programs are compiled in half the time without XLA's newer emitters of loops, and give the same
# results up to rounding. An XLA that does not know a flag ends the process.
QUICK_FLAG = "--xla_cpu_use_fusion_emitters=false"
KNOW_QUICK_FLAG = ("0.10.",)


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how programs are compiled, before the first one is."""
    if is_quick(config) and jaxlib.version.__version__.startswith(KNOW_QUICK_FLAG):
        flags = os.environ.get("XLA_FLAGS", "")
        if QUICK_FLAG not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {QUICK_FLAG}".strip()


def is_quick(config: pytest.Config) -> bool:
    """Whether these are the default tests; the slow ones compile as users do."""
    return config.option.markexpr == "not slow and not nightly"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}: set JAXGEN_TEST_DATA to their folder")
    return DATA


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(request, tmp_path_factory):
    """How programs are compiled: each once a session, and apart from the user's own cache.

    XLA's optimizations take a fifth of the time of the tests and change no result by more than
    rounding. The default tests do without them, but for those that ask for `optimized`; the slow
    tests have them, but for those that ask for `quick_compilation`.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers' folders lie beside each other
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if is_quick(request.config):
        jax.config.update("jax_disable_most_optimizations", True)


def compiling(optimized: bool) -> Iterator[None]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", not optimized)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def quick_compilation():
    """Compiles without optimization, also in the slow tests."""
    yield from compiling(optimized=False)


@pytest.fixture
def optimized():
    """Compiles as users do: for tests about memory, speed or the program itself."""
    yield from compiling(optimized=True)


@pytest.fixture(scope="module")
def shared_systems():
    """Systems that give one and the same learner whenever their keywords are the same.

    Its programs are then compiled once for all runs of a module.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in systems.__all__:
            patch.setattr(systems, name, functools.cache(getattr(systems, name)))
        yield


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes an array as a compressed IDX file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory) -> Path:
    """A folder of IDX files: 40 training and 12 test images of 8x8, with labels."""
    return make_idx_folder(tmp_path_factory.mktemp("idx"), size=8)


@pytest.fixture(scope="session")
def large_idx_folder(tmp_path_factory) -> Path:
    """The same of 25x25."""
    return make_idx_folder(tmp_path_factory.mktemp("idx"), size=25)


def make_idx_folder(folder: Path, size: int) -> Path:
    """Fills a folder with IDX files."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 40), ("t10k", 12)):
        pixels = rng.integers(0, 256, (number, size, size)).astype(np.uint8)
        labels = rng.integers(0, 10, number).astype(np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return folder


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory, monkeypatch):
    """Keeps decoded data out of the user's own cache."""
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def unprivileged():
    """A folder owned by a user other than root, as whom the test runs where it was root.

    Root may read every file, so that refusals of the file system need another user.
    """
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def no_home(monkeypatch):
    """A process whose user has neither HOME nor an entry in the user database."""
    import pwd

    def unknown(uid):
        raise KeyError(f"uid not found: {uid}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    with playwright.sync_playwright() as running:
        # Without the sandbox, because tests in containers run as root.
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
