"""Fetching from a host: verified, never waiting for long, nothing left behind."""

import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data.readers import idx
from jaxgen.data.readers._idx_files import find_files
from jaxgen.data.storage import fetch
from jaxgen.errors import UserError

SUFFIX = "-ubyte.gz"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


class Host:
    """An HTTP server on this machine; `files`, name -> content, may be changed while it runs."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                host.requests.append(name)
                if name not in host.files:
                    self.send_error(404)
                    return
                content = host.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Encoding", "gzip")  # as some hosts do for .gz files
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sets/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def host():
    host = Host()
    yield host
    host.close()


def small_set() -> dict[str, bytes]:
    files = {}
    for prefix, number in (("train", 6), ("t10k", 2)):
        pixels = np.arange(number * 12, dtype=np.uint8)
        header = struct.pack(">IIII", 0x803, number, 4, 3)
        files[f"{prefix}-images-idx3{SUFFIX}"] = gzip.compress(header + pixels.tobytes())
        header = struct.pack(">II", 0x801, number)
        files[f"{prefix}-labels-idx1{SUFFIX}"] = gzip.compress(header + bytes(range(number)))
    return files


def redirect(monkeypatch, files, url):
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(
        fetch, "archives", lambda name: {file: (url + file, checksums[file]) for file in checksums}
    )


def nothing_left(folder):
    return not folder.exists() or list(folder.iterdir()) == []


def test_fetches_the_real_files(real_data, host, monkeypatch, tmp_path, folder):
    """The real MNIST, under the checksums that tensorflow-datasets has recorded for it."""
    recorded = fetch.archives("mnist")
    monkeypatch.setattr(
        fetch,
        "archives",
        lambda name: {
            file: (host.url + file, checksum) for file, (_, checksum) in recorded.items()
        },
    )
    host.files = {file.name: file.read_bytes() for file in (real_data / "mnist_idx").iterdir()}
    fetched = data.load("mnist", tmp_path)
    original = idx.read(find_files(real_data / "mnist_idx"))
    assert fetched.name == "mnist"
    np.testing.assert_array_equal(fetched.train.images, original["train"].images)
    np.testing.assert_array_equal(fetched.test.labels, original["test"].labels)
    assert sorted(host.requests) == sorted(recorded)
    assert [path.name for path in folder.iterdir()] == ["datasets"]  # no archives

    host.files = {}
    assert data.load("mnist", tmp_path).fingerprint == fetched.fingerprint
    assert data.load_auto(tmp_path, announce=pytest.fail).name == "mnist"
    assert len(host.requests) == 4  # no request the second and third time


@pytest.mark.parametrize("name", fetch.FETCHABLE)
def test_checksums_are_recorded_for_every_set(name):
    archives = fetch.archives(name)
    assert len(archives) == (3 if name == "binarized_mnist" else 4)
    for file, (url, checksum) in archives.items():
        assert url.endswith(f"/{file}")
        assert len(checksum) == 64


@pytest.mark.parametrize("number", range(4))
def test_a_wrong_byte_is_noticed(host, monkeypatch, tmp_path, folder, number):
    files = small_set()
    redirect(monkeypatch, files, host.url)
    name = list(files)[number]
    content = bytearray(files[name])
    content[4] ^= 1  # in the time stamp: it decodes to the same data
    host.files = {**files, name: bytes(content)}
    with pytest.raises(UserError, match="checksum") as caught:
        data.load("kmnist", tmp_path)
    assert name in str(caught.value)
    assert nothing_left(folder)
    host.files = files
    assert data.load("kmnist", tmp_path).train.images.shape == (6, 4, 3, 1)


def test_a_page_in_place_of_the_file(host, monkeypatch, tmp_path, folder):
    # A hotel's or a company's gate answers 200 to everything.
    redirect(monkeypatch, small_set(), host.url)
    host.files = dict.fromkeys(small_set(), b"<html>Please sign in</html>")
    with pytest.raises(fetch.FetchError, match="checksum"):
        data.load("fashion_mnist", tmp_path)
    assert nothing_left(folder)


def test_binarized_mnist(host, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    pixels = {part: rng.integers(0, 2, (3, 784)) for part in ("train", "valid", "test")}
    host.files = {
        f"binarized_mnist_{part}.amat": b"".join(
            b" ".join(b"%d" % value for value in row) + b"\n" for row in rows
        )
        for part, rows in pixels.items()
    }
    redirect(monkeypatch, host.files, host.url)
    dataset = data.load("binarized_mnist", tmp_path)
    assert list(dataset.splits) == ["train", "validation", "test"]
    for split, part in zip(dataset.splits.values(), pixels, strict=True):
        assert split.labels is None
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(split.images, 255 * pixels[part].reshape(-1, 28, 28, 1))


def test_absent_file(host, monkeypatch, tmp_path, folder):
    redirect(monkeypatch, small_set(), host.url)
    with pytest.raises(UserError, match="404"):
        data.load("mnist", tmp_path)
    assert nothing_left(folder)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_no_host(monkeypatch, tmp_path, folder):
    redirect(monkeypatch, small_set(), f"http://127.0.0.1:{closed_port()}/")
    with pytest.raises(UserError) as caught:
        data.load("mnist", tmp_path / "sets")
    message = str(caught.value)
    for part in ("mnist", str(tmp_path / "sets"), "127.0.0.1", "--data-dir", "idx:", "glyphs"):
        assert part in message
    assert "\n" not in message
    assert nothing_left(folder)


def test_a_host_that_never_answers(monkeypatch, tmp_path, folder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        redirect(monkeypatch, small_set(), f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.monotonic()
        with pytest.raises(fetch.FetchError, match="did not answer"):
            fetch.fetch("mnist", seconds=0.2)
        assert time.monotonic() - start < 3
    assert nothing_left(folder)


def test_a_name_that_is_looked_up_for_minutes(monkeypatch, tmp_path):
    done = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: done.wait(60))
    redirect(monkeypatch, small_set(), "http://no-such-host.invalid/")
    start = time.monotonic()
    with pytest.raises(fetch.FetchError, match=r"no-such-host\.invalid did not answer"):
        fetch.fetch("mnist", seconds=0.2)
    assert time.monotonic() - start < 3
    done.set()


def test_a_download_that_stands_still(monkeypatch, tmp_path, folder):
    monkeypatch.setattr(fetch, "_STALL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            stopped.wait(20)
            connection.close()

        stopped = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        redirect(monkeypatch, small_set(), f"http://127.0.0.1:{server.getsockname()[1]}/")
        with pytest.raises(fetch.FetchError, match="the download of"):
            fetch.fetch("mnist")
        stopped.set()
        thread.join()
    assert nothing_left(folder)


def test_works_without_a_cache(host, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "file"))
    host.files = small_set()
    redirect(monkeypatch, host.files, host.url)
    assert data.load("mnist", tmp_path).train.images.shape == (6, 4, 3, 1)
    assert capsys.readouterr().err.count("\n") == 1
