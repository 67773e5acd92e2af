"""What a run and the commands write into report.html, comparison.html and explore.html."""

import json
from pathlib import Path

import pytest
from browser import opened

from jaxgen import _commands, runs
from jaxgen.errors import UserError
from jaxgen.runs import reports
from jaxgen.visualization import grids

SMALL = "--latent-size 3 --batch-size 16 --hidden-sizes 6"

pytestmark = pytest.mark.usefixtures("quick_compilation")


def train(folder: Path, data: Path, words: str = "", epochs: int = 2) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(folder.parent / "cache"))
        common = f"--num-epochs {epochs} --dataset idx:{data} --workdir {folder} {SMALL} {words}"
        _commands.run(["train", "vae_mnist", *common.split()])
    return folder


@pytest.fixture(scope="module")
def workdir(idx_folder, tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "first", idx_folder, "--beta 2")


@pytest.fixture(scope="module")
def other(idx_folder, workdir) -> Path:
    return train(workdir.parent / "second", idx_folder, "--no-pictures", epochs=1)


def test_every_run_leaves_a_page(workdir, chromium):
    with opened(chromium, workdir / "report.html") as page:
        page.wait_for_selector("body[data-ready]")
        text = page.locator("body").inner_text()
        assert "Finished: 2 epochs" in text
        assert page.locator(".series").count() == 2
        row = page.locator("#configuration ~ div tr", has_text="beta").locator("td")
        assert row.all_inner_texts() == ["2", "1", "differs"]
        row = page.locator("#configuration ~ div tr", has_text="num_epochs").locator("td")
        assert row.all_inner_texts() == ["2", "15", "differs"]
        assert page.locator("img[alt='training images']").count() == 1


def test_the_command_repeats_the_run(workdir, idx_folder, tmp_path):
    command = reports.command_of(json.loads((workdir / "config.json").read_text()))
    assert command is not None
    words = command.split()
    assert words[:4] == ["python", "-m", "jaxgen", "train"]
    _commands.run([*words[3:], "--workdir", str(tmp_path / "again")])
    first, again = (
        [
            {name: value for name, value in json.loads(line).items() if name != "seconds"}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (workdir, tmp_path / "again")
    )
    assert again == first


def test_the_command_has_flags_for_what_is_switched_on_and_off():
    config = {"system": "vae_animals", "dataset": "folder:x", "num_epochs": 3, "seed": 1}
    on = reports.command_of(config | {"average_images": True, "channels": [8, 16]})
    assert on is not None
    assert on.endswith("--seed 1 --channels 8 16 --average-images")
    plain = reports.command_of(config | {"average_images": False})
    assert plain is not None
    assert plain.endswith("--seed 1")


def test_evaluation_results_are_shown(workdir, monkeypatch):
    file = workdir / "evaluation.json"
    file.write_text(json.dumps({"log_likelihood": {"test": -98.25}}))
    assert "-98.25" in reports.report_page(reports.report_of(workdir))
    file.unlink()


def test_the_page_holds_nothing_of_the_environment(workdir, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_USER", "hunter2-in-the-environment")
    source = reports.write_report(workdir).read_text()
    assert "hunter2" not in source
    assert "SECRET_OF_THE_USER" not in source


def test_a_running_run_states_the_time_left(workdir):
    folder = workdir.parent / "running"
    folder.mkdir()
    config = json.loads((workdir / "config.json").read_text()) | {"num_epochs": 100}
    (folder / "config.json").write_text(json.dumps(config))
    assert "no epoch of 100 is finished yet" in reports.report_of(folder, running=True).status
    record = {"epoch": 1, "step": 3, "seconds": 60.0, "train/loss": 1.0}
    (folder / "metrics.jsonl").write_text(json.dumps(record) + '\n{"epoch": 2, "st')
    status = reports.report_of(folder, running=True).status
    assert status == "Running: epoch 1 of 100 is finished, about 99 min of training left."
    assert reports.report_of(folder).status == "Stopped after epoch 1 of 100."


def test_a_page_takes_at_most_a_fiftieth_of_the_time(workdir, monkeypatch):
    now, written = [0.0], []

    def write(folder, *, running):
        written.append(now[0])
        now[0] += 0.5  # seconds that it takes: 2% of 25

    monkeypatch.setattr(reports, "write_report", write)
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    live = reports.LiveReport(workdir, grids.np.zeros((3, 4, 4, 1), "uint8"))
    for second in range(100):
        now[0] = max(now[0], second)
        live.update()
    assert written == [0.0, 26.0, 52.0, 78.0]


def test_what_interrupts_a_write_leaves_the_last_whole_page(workdir, monkeypatch):
    before = (workdir / "report.html").read_bytes()
    whole = Path.write_text

    def half(self, text, **options):
        whole(self, text[: len(text) // 2], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(KeyboardInterrupt):
            reports.write_report(workdir)
    assert (workdir / "report.html").read_bytes() == before
    assert not list(workdir.glob("*.tmp"))


def test_report_compares_several_runs(workdir, other, tmp_path, chromium):
    path = tmp_path / "comparison.html"
    _commands.run(["report", str(workdir), str(other), "--output", str(path)])
    with opened(chromium, path) as page:
        page.wait_for_selector("body[data-ready]")
        differing = page.locator("#differences ~ div tbody th").all_inner_texts()
        assert set(differing) == {"num_epochs", "beta"}
        assert page.locator("#samples ~ div img").count() == 2
        assert page.locator(".chart h3").first.inner_text() == "train/loss"


def test_report_of_one_run_goes_into_its_folder(workdir, capsys):
    (workdir / "report.html").unlink()
    _commands.run(["report", str(workdir)])
    assert (workdir / "report.html").stat().st_size > 1000
    assert "report.html" in capsys.readouterr().out


def test_explore_writes_a_page_that_decodes(workdir, chromium):
    _commands.run(["explore", str(workdir)])
    with opened(chromium, workdir / "explore.html") as page:
        page.wait_for_selector("body[data-ready]")
        assert "idx:" in page.locator("h1").inner_text()
        assert page.locator("#sliders input").count() == 3
        assert page.locator("#nearest canvas").count() > 0


@pytest.mark.parametrize("command", ["report", "explore"])
def test_a_folder_without_a_run_is_named(command, tmp_path):
    with pytest.raises(UserError, match="expected the folder of a run"):
        _commands.run([command, str(tmp_path)])


def test_a_learner_of_ones_own_has_a_page_without_a_command(workdir, tmp_path):
    config = json.loads((workdir / "config.json").read_text()) | {"system": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = reports.report_of(tmp_path)
    assert report.command is None
    assert report.published == {}
    assert report.title.startswith(tmp_path.name)


def test_runs_are_not_changed_by_their_page(workdir):
    before = sorted((path, path.stat().st_mtime_ns) for path in workdir.rglob("*.json*"))
    reports.write_report(workdir)
    after = sorted((path, path.stat().st_mtime_ns) for path in workdir.rglob("*.json*"))
    assert after == before
    assert runs.load(workdir).history


def test_a_file_that_is_no_picture_is_left_out(workdir):
    broken = workdir / "images" / "mine.png"
    broken.write_bytes(b"")
    assert "mine" not in [figure.name for figure in reports.report_of(workdir).figures]
    broken.unlink()
