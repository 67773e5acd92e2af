"""The pages of one run and of several, in headless Chromium and without JavaScript."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import accessibility_findings, opened, overflow
from PIL import Image

from jaxgen.visualization._report_parts import spread
from jaxgen.visualization.comparison import Compared, comparison_page, shared_charts
from jaxgen.visualization.report import (
    Figure,
    Reference,
    Report,
    Series,
    metric_charts,
    report_page,
)

BAD_NAME = "<script>alert('x')</script><b>&\""
LIMIT = 10 * 10**6  # bytes of a page


def png(value: int, side: int = 12) -> bytes:
    return encoded(np.full((side, side), value, np.uint8))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def history(num_epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "seconds": 1.0,
            "train/loss": 200 / epoch,
            "test/loss": 210 / epoch,
            "train/elbo": -200 / epoch,
            "train/kl_weight": 1.0,
        }
        for epoch in range(1, num_epochs + 1)
    ]


def report(num_epochs: int = 5, **changes: Any) -> Report:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:])
    series = [Figure("samples", png(epoch % 256), epoch) for epoch in range(1, num_epochs + 1)]
    made = Report(
        title=f"vae_mnist on {BAD_NAME}",
        status=f"Finished: {num_epochs} epochs in 5 s.",
        description=BAD_NAME,
        equation="ELBO(x) = E[log p(x|z)]",
        facts={"dataset": BAD_NAME, "seed": 0},
        history=history(num_epochs),
        units={"loss": "nats per image"},
        configuration={"learning_rate": 0.01, "hidden_sizes": [400], "note": BAD_NAME},
        published={"learning_rate": 0.001, "hidden_sizes": (400,)},
        references=[Reference("train/loss", 40.0, 5, BAD_NAME)],
        series={"samples": Series(series, num_epochs)},
        figures=[
            Figure(f"latents {BAD_NAME}", png(100), drawn=True),
            Figure("animation", buffer.getvalue()),
        ],
        data_figure=Figure("training images", png(50)),
        evaluation={"log_likelihood": {"test": -88.5}, BAD_NAME: 1.0},
        versions={"jax": "0.10"},
        command="python -m jaxgen train vae_mnist",
    )
    return made._replace(**changes)


def compared(count: int) -> list[Compared]:
    return [
        Compared(
            f"run {n} {BAD_NAME if n == 0 else ''}",
            {"learning_rate": 0.1**n, "beta": 1.0},
            history(3 + n),
            Figure(f"samples of run {n}", png(n)),
            20 if n < 2 else 7,
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(report()))
    return path


@pytest.fixture
def window(chromium, path) -> Iterator[Any]:
    with opened(chromium, path) as page:
        page.wait_for_selector("body[data-ready]")
        yield page


def test_a_slider_goes_through_the_pictures_of_epochs(window):
    slider = window.locator(".epochs input")
    shown = window.locator(".series figure:visible")
    assert shown.evaluate_all("all => all.map((e) => e.dataset.epoch)") == ["5"]
    slider.focus()
    window.keyboard.press("ArrowLeft")
    assert shown.evaluate_all("all => all.map((e) => e.dataset.epoch)") == ["4"]
    assert slider.get_attribute("aria-valuetext") == "epoch 4"


def test_curves_show_their_values_under_the_pointer(window):
    # kl_weight does not change: its value is in the tables.
    assert window.locator(".chart h3").all_inner_texts() == ["loss", "elbo"]
    plot = window.locator(".chart .u-over").first
    plot.scroll_into_view_if_needed()
    size = plot.bounding_box()
    plot.hover(position={"x": size["width"] - 5, "y": size["height"] / 2})
    window.wait_for_timeout(100)
    legend = window.locator(".chart .u-legend").first.locator(".u-value").all_inner_texts()
    assert legend == ["5", "40", "42"]


def test_a_logarithmic_scale_can_be_chosen(window):
    before = window.locator(".chart canvas").first.evaluate("e => e.toDataURL()")
    window.locator("#logarithmic").check()
    assert window.locator(".chart canvas").first.evaluate("e => e.toDataURL()") != before


def test_every_value_is_shown(window):
    text = window.locator("body").inner_text()
    for expected in (
        "Finished: 5 epochs in 5 s.",
        "ELBO(x) = E[log p(x|z)]",
        "log_likelihood: test",
        "-88.5",
        "python -m jaxgen train vae_mnist",
        BAD_NAME,
    ):
        assert expected in text
    row = window.locator("tr", has_text="train/loss after epoch 5").locator("td")
    assert row.all_inner_texts() == ["40", "40", BAD_NAME]
    row = window.locator("#configuration ~ div tr", has_text="learning_rate").locator("td")
    assert row.all_inner_texts() == ["0.01", "0.001", "differs"]
    row = window.locator("#configuration ~ div tr", has_text="hidden_sizes").locator("td")
    assert row.all_inner_texts() == ["[400]", "[400]", ""]


def test_pictures_and_tables_stay_without_javascript(chromium, path):
    with opened(chromium, path, javascript=False) as page:
        assert page.locator(".series figure:visible").count() == 5
        page.locator("summary", has_text="Table of all metrics").click()
        assert page.locator("#epochs ~ details tbody tr").count() == 5
        assert page.locator("noscript").inner_text().startswith("The curves need JavaScript")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_everything_fits_and_is_accessible(chromium, path, tmp_path, width, scheme, kind):
    if kind == "comparison":
        path = tmp_path / "comparison.html"
        path.write_text(comparison_page(compared(3), {"loss": "nats per image"}))
    with opened(chromium, path, width, scheme) as page:
        page.wait_for_selector("body[data-ready]")
        assert overflow(page) == []
        assert accessibility_findings(page) == []


def test_five_hundred_epochs_fit_by_stated_thinning():
    rng = np.random.default_rng(0)
    noise = [encoded(rng.integers(0, 256, (160, 160, 3), np.uint8)) for _ in range(40)]
    series = {
        name: Series([Figure(name, content, n) for n, content in enumerate(noise, 1)], 500)
        for name in ("samples", "reconstructions", "averaged samples")
    }
    source = report_page(report(500, series=series))
    assert len(source.encode()) < LIMIT
    assert "20 of the 500 pictures, evenly spread over the run" in source
    assert "60 of the 500 epochs" in source


def test_each_picture_is_embedded_once(path):
    source = path.read_text()
    addresses = [part.split('"')[0] for part in source.split('src="')[1:]]
    assert len(addresses) == len(set(addresses)) == 8


def test_names_are_escaped(path):
    source = path.read_text()
    assert BAD_NAME not in source
    assert "<script>alert" not in source
    assert "<script>alert" not in comparison_page(compared(2), {})


def test_a_run_without_a_finished_epoch_has_a_page(chromium, tmp_path):
    path = tmp_path / "report.html"
    empty = report(0, history=[], series={}, figures=[], evaluation={}, references=[])
    path.write_text(report_page(empty))
    with opened(chromium, path) as page:
        page.wait_for_selector("body[data-ready]")
        assert "No epoch is finished yet." in page.locator("body").inner_text()


def test_numbers_that_are_not_finite_leave_gaps():
    records = history(3)
    records[1]["train/loss"] = float("nan")
    source = report_page(report(history=records))
    assert '"values": [200.0, null, 66.66' in source


def test_a_comparison_shows_what_differs_on_one_axis(chromium, tmp_path):
    path = tmp_path / "comparison.html"
    path.write_text(comparison_page(compared(3), {}))
    with opened(chromium, path) as page:
        page.wait_for_selector("body[data-ready]")
        differing = page.locator("#differences ~ div tbody tr")
        assert differing.locator("th").all_inner_texts() == ["learning_rate"]
        assert page.locator(".chart h3").first.inner_text() == "train/loss"
        # Of the third run no other has the latent size.
        assert page.locator("#samples ~ div img").count() == 2


def test_curves_of_runs_of_different_length_share_their_epochs():
    (loss, *_) = shared_charts(compared(2), {"loss": "nats per image"})
    assert loss.x == [1, 2, 3, 4]
    first, second = loss.series.values()
    assert first == [200.0, 100.0, pytest.approx(66.67, abs=0.01), None]
    assert second[3] == 50.0
    assert loss.y_label == "nats per image"


def test_what_differs_by_rounding_alone_has_no_chart():
    weights = [0.1, 0.1, 0.09999999]
    history = [
        {"epoch": epoch, "train/kl_weight": weight, "train/loss": 1.0 + 1e-4 * epoch}
        for epoch, weight in enumerate(weights, start=1)
    ]
    assert [chart.title for chart in metric_charts(history)] == ["loss"]


def test_a_chart_pairs_train_and_test():
    loss, elbo = metric_charts(history(2))
    assert dict(loss.series) == {"train": [200.0, 100.0], "test": [210.0, 105.0]}
    assert list(elbo.series) == ["train"]


@pytest.mark.parametrize(("count", "most"), [(3, 5), (500, 40), (7, 1), (41, 40)])
def test_thinning_keeps_both_ends(count, most):
    kept = spread(count, most)
    assert len(kept) == min(count, most)
    assert kept[-1] == count - 1
    if most > 1:
        assert kept[0] == 0
        gaps = np.diff(kept)
        assert gaps.max() - gaps.min() <= 1
