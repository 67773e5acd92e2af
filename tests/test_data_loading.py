"""What a name means, and what importing and asking cost."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxgen import data
from jaxgen.data.readers import glyphs, prepared
from jaxgen.data.storage import fetch
from jaxgen.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(
        fetch, "open_url", lambda url, seconds: pytest.fail(f"asked the network for {url}")
    )
    return tmp_path


@pytest.fixture
def few_glyphs(monkeypatch):
    draw = glyphs.draw
    monkeypatch.setattr(glyphs, "draw", lambda: draw(200, 50))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(url, seconds):
        raise fetch.FetchError("the host cannot be reached")

    monkeypatch.setattr(fetch, "open_url", refuse)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def the_error(name, data_dir=None):
    with pytest.raises(UserError) as caught:
        data.load(name, data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("mnits", "mnist"),
        ("MNIST", "mnist"),
        ("fashion-mnist", "fashion_mnist"),
        ("glyph", "glyphs"),
    ],
)
def test_unknown_name(wrong, right, folder):
    message = the_error(wrong, folder)
    assert repr(wrong) in message
    assert f"did you mean {right}" in message
    for name in data.NAMES:
        assert name in message


@pytest.mark.parametrize("name", ["", "tfds:", "idx:", "photographs", "idx"])
def test_names_that_are_none(name, folder):
    assert "unknown data set" in the_error(name, folder)


def test_unknown_tfds_name(folder):
    message = the_error("tfds:cifar11", folder)
    assert "tfds:cifar10" in message
    assert str(folder) in message


def test_preparing_takes_tensorflow(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = the_error("tfds:cifar10", folder / "nowhere")
    assert "jaxgen[tf]" in message
    assert f"{folder / 'nowhere'} (no such directory)" in message


def test_preparing_asks_the_host_first(folder, monkeypatch, no_network):
    import tensorflow_datasets as tfds

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(tfds, "builder", lambda *_, **__: pytest.fail("would take minutes"))
    message = the_error("tfds:cifar10", folder)
    assert "the host cannot be reached" in message


def test_prepares_with_tensorflow(folder, monkeypatch):
    import tensorflow_datasets as tfds

    class Builder:
        def download_and_prepare(self):
            (folder / "cifar10" / "3.0.2").mkdir(parents=True)
            (folder / "cifar10" / "3.0.2" / "dataset_info.json").write_text("{}")

    class Response:
        def close(self):
            pass

    splits = {
        name: glyphs.Split(np.zeros((2, 4, 4, 3), np.uint8), None) for name in ("train", "test")
    }
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(fetch, "open_url", lambda url, seconds: Response())
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder())
    monkeypatch.setattr(prepared, "read", lambda path, target: splits)
    dataset = data.load("tfds:cifar10", folder)
    assert dataset.train.images.shape == (2, 4, 4, 3)


def test_mnist_is_never_replaced(folder, no_network, few_glyphs):
    message = the_error("mnist", folder)
    for part in ("mnist", str(folder), "--data-dir", "idx:", "glyphs", "cannot be reached"):
        assert part in message


def test_auto_is_mnist_where_there_is_mnist(real_data, shared_cache, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", shared_cache)
    dataset = data.load_auto(real_data / "tfds", announce=pytest.fail)
    assert dataset.name == "mnist"
    assert dataset.train.images.shape == (60_000, 28, 28, 1)


def test_auto_is_glyphs_elsewhere(folder, no_network, few_glyphs, capsys):
    lines = []
    dataset = data.load_auto(folder, announce=lines.append)
    assert dataset.name == "glyphs"
    assert dataset.train.images.shape == (200, 28, 28, 1)
    (line,) = lines
    assert "glyphs" in line
    assert "the host cannot be reached" in line
    assert "\n" not in line
    assert data.load("auto", folder).fingerprint == dataset.fingerprint
    assert capsys.readouterr().out == f"{line}\n"


def test_auto_does_not_hide_damage(folder, no_network):
    (folder / "mnist" / "3.0.1").mkdir(parents=True)
    (folder / "mnist" / "3.0.1" / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        data.load_auto(folder, announce=pytest.fail)


def test_data_dir_defaults_to_that_of_tensorflow_datasets(folder, monkeypatch, no_network):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "sets"))
    assert str(folder / "sets") in the_error("mnist")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(folder))
    assert str(folder / "tensorflow_datasets") in the_error("mnist")


def test_glyphs_are_drawn_once(few_glyphs, monkeypatch):
    first = data.load("glyphs")
    monkeypatch.setattr(glyphs, "draw", lambda: pytest.fail("drawn again"))
    second = data.load("glyphs")
    assert second.name == "glyphs"
    assert second.fingerprint == first.fingerprint


PROBE = """
import sys
from jaxgen import data

def assert_light():
    loaded = {"tensorflow", "tensorflow_datasets", "torch"} & set(sys.modules)
    assert not loaded, loaded
    xla_bridge = sys.modules.get("jax._src.xla_bridge")
    assert xla_bridge is None or not xla_bridge._backends

assert_light()
for name in sys.argv[1:]:
    data.load(name)
    assert_light()
"""


def probe(*names):
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *names], capture_output=True, text=True, env=dict(os.environ)
    )
    assert result.returncode == 0, result.stderr


def test_importing_and_cached_data_are_light(few_glyphs):
    data.load("glyphs")
    probe("glyphs")


def test_a_second_start_is_light(real_data, shared_cache, monkeypatch):
    monkeypatch.setenv("JAXGEN_CACHE_DIR", shared_cache)
    monkeypatch.setenv("TFDS_DATA_DIR", str(real_data / "tfds"))
    data.load("mnist")
    probe("mnist", "auto")
