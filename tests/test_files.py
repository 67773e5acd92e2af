"""Paths and directories of the user: expanded, listed, and refused in one line."""

import os
from pathlib import Path

import pytest

from jaxgen import _files
from jaxgen.errors import UserError

ODD = os.fsdecode(b"caf\xe9")  # a file name in Latin-1


@pytest.mark.parametrize("kind", [str, Path])
def test_tilde_expands(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _files.expanded(kind("~/data/x")) == tmp_path / "data" / "x"
    assert _files.expanded(kind("a/~/x")) == Path("a/~/x")
    assert _files.home() == tmp_path


def test_no_home_directory(no_home):
    assert _files.home() is None
    assert _files.expanded("data/x") == Path("data/x")
    for path in ("~/x", "~no_such_user/x"):
        with pytest.raises(UserError, match="set HOME or write the path in full"):
            _files.expanded(path)


def test_null_characters_are_refused():
    with pytest.raises(UserError, match="null character"):
        _files.expanded("a\0b")


def test_names_that_are_not_utf8_are_printable():
    assert _files.printable(ODD) == r"caf\xe9"
    assert _files.printable("für/学") == "für/学"


def test_reasons_are_one_line():
    assert _files.reason(PermissionError(13, "Permission denied", "/x")) == "Permission denied"
    assert _files.reason(ValueError("first\nsecond")) == "first"
    assert _files.reason(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_operating_system_errors_become_one_line(tmp_path):
    with pytest.raises(UserError) as caught, _files.one_line_errors("read", "x", "choose another"):
        (tmp_path / "absent").read_bytes()
    assert str(caught.value) == "cannot read x (No such file or directory): choose another"
    with pytest.raises(ZeroDivisionError), _files.one_line_errors("read", "x", "choose another"):
        _ = 1 // 0


def test_directories_are_listed_in_order(tmp_path):
    for name in ("b", "a", ".c"):
        (tmp_path / name).mkdir()
    assert [path.name for path in _files.list_directory(tmp_path, "x")] == [".c", "a", "b"]


def test_directories_that_cannot_be_listed(unprivileged):
    def the_error(path):
        with pytest.raises(UserError) as caught:
            _files.list_directory(path, "a folder of pictures")
        assert "expected a folder of pictures" in str(caught.value)
        return str(caught.value)

    assert "does not exist" in the_error(unprivileged / "nowhere")
    assert r"caf\xe9 does not exist" in the_error(unprivileged / ODD)
    (unprivileged / "file").write_text("")
    assert "is not a directory" in the_error(unprivileged / "file")
    (unprivileged / "closed").mkdir(mode=0o000)
    for path in (unprivileged / "closed", unprivileged / "closed" / "inner"):
        assert "Permission denied" in the_error(path)


def test_replacing_is_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "file"
    with _files.replacing(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    with pytest.raises(ZeroDivisionError), _files.replacing(target) as temporary:
        temporary.write_text("half")
        _ = 1 // 0
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]
