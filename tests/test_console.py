"""What a run shows: in a notebook its own bar and the pictures, elsewhere lines of text."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from jaxgen import runs, systems
from jaxgen.runs import console


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, picture):
        self.shown.append(("update", picture))


@pytest.fixture
def shown(monkeypatch):
    """A kernel that records what it displays, and was started with words of its own."""
    shown = []

    def display(picture, display_id):
        shown.append(("display", picture))
        return Handle(shown)

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: SimpleNamespace(kernel=object())
    vars(module).update(display=display, Image=lambda filename: filename)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    return shown


def test_a_notebook_shows_each_picture_in_one_place(shown, tmp_path):
    assert console.in_notebook()
    display = console.Display()
    for epoch in (1, 2):
        for name in ("samples", "reconstructions"):
            display.show(name, tmp_path / f"{name}-{epoch}.png")
    assert [(how, name.rpartition("/")[2]) for how, name in shown] == [
        ("display", "samples-1.png"),
        ("display", "reconstructions-1.png"),
        ("update", "samples-2.png"),
        ("update", "reconstructions-2.png"),
    ]


def test_in_a_notebook_start_reads_no_words_of_the_kernel(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(
        "jaxgen.runs.flags.parse", lambda *_, args, **__: (seen.append(args), sys.exit(0))
    )
    with pytest.raises(SystemExit):
        runs.start(systems.vae_mnist, num_epochs=1)
    assert seen == [[]]


def test_elsewhere_nothing_is_displayed(tmp_path):
    assert not console.in_notebook()
    console.Display().show("samples", tmp_path / "absent.png")


def test_the_bar_of_a_terminal_is_text_and_of_a_file_nothing(capsys, monkeypatch):
    with console.progress_bar(3, 1) as bar:
        bar.update()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with console.progress_bar(3, 1) as bar:
        bar.update()
    assert "2/3" in capsys.readouterr().err
