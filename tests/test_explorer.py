"""The page of a latent space, in headless Chromium: what its controls do."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from browser import accessibility_findings, opened, overflow

from jaxgen import systems
from jaxgen.visualization import explorations, explorer

pytestmark = pytest.mark.usefixtures("quick_compilation")

BAD_NAME = "<script>alert('x')</script><b>&\""
LIMIT = 20 * 10**6  # bytes of a page


def images_and_labels(shape: tuple[int, int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 3, count)


def written(folder: Path, system: str, count: int = 70, **hyperparameters: Any) -> Path:
    """The explorer of an untrained learner, as a file."""
    learner = getattr(systems, system)(**hyperparameters)
    images, labels = images_and_labels(learner.image_shape, count)
    exploration = explorations.explore(
        learner,
        learner.init(jax.random.key(0)),
        images,
        labels,
        jax.random.key(1),
        title=f"{system} on {BAD_NAME}",
        facts={"data": BAD_NAME},
        class_names=[BAD_NAME, "one", "two"],
        training_images=images[::-1],
    )
    path = folder / "explore.html"
    path.write_text(explorer.explorer_page(exploration))
    assert path.stat().st_size < LIMIT
    return path


@pytest.fixture(scope="module")
def page_of_vae(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("vae"), "vae_mnist", latent_size=12)


@pytest.fixture(scope="module")
def page_of_cvae(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cvae")
    return written(folder, "cvae_mnist", hidden_sizes=(20,), latent_size=4)


@pytest.fixture(scope="module")
def page_of_gan(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("gan"), "wgan_mnist", generator_sizes=(16,))


@pytest.fixture
def window(chromium, page_of_vae) -> Iterator[Any]:
    with opened(chromium, page_of_vae) as page:
        ready(page)
        yield page


def ready(page: Any) -> None:
    page.wait_for_selector("body[data-ready]")
    page.wait_for_timeout(100)


def picture(page: Any) -> list[int]:
    return page.evaluate(
        """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.getElementById("picture");
          const { width, height } = canvas;
          done(Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data));
        })))"""
    )


def latents(page: Any) -> np.ndarray:
    return np.array(page.evaluate("Array.from(jaxgenExplorer.latents)"))


def test_a_slider_moves_its_dimension_and_the_picture(window):
    before, start = picture(window), latents(window)
    slider = window.locator("#sliders input").first
    dimension = int(slider.get_attribute("id").removeprefix("latent-"))
    slider.fill("2.5")
    moved = latents(window) - start
    assert latents(window)[dimension] == 2.5
    assert np.flatnonzero(moved).tolist() == [dimension]
    assert picture(window) != before
    assert window.locator("#sliders output").first.inner_text() == "2.50"


def test_sliders_stand_in_the_order_of_activity(window):
    about = window.evaluate('JSON.parse(document.getElementById("about").textContent)')
    ids = window.locator(".slider input").evaluate_all("all => all.map((e) => e.id)")
    activity = [about["activity"][int(name.removeprefix("latent-"))] for name in ids]
    assert len(activity) == 12
    assert activity == sorted(activity, reverse=True)


def test_the_map_decodes_the_point_under_the_pointer(window):
    about = window.evaluate('JSON.parse(document.getElementById("about").textContent)')
    axes, center = np.array(about["axes"]), np.array(about["center"])
    window.locator("#map").scroll_into_view_if_needed()
    box = window.locator("#map").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = picture(window)
    window.mouse.move(*middle)
    window.mouse.down()
    np.testing.assert_allclose(latents(window), center, atol=0.02)
    window.mouse.move(middle[0] + box["width"] / 4, middle[1] - box["height"] / 8, steps=5)
    at = (latents(window) - center) @ axes.T
    window.mouse.up()
    # In the plane of the map: the inverse of the projection.
    np.testing.assert_allclose(latents(window), center + at @ axes, atol=1e-5)
    assert at[0] > 0
    assert at[0] == pytest.approx(2 * at[1], rel=0.02)
    assert picture(window) != before


def test_the_map_follows_the_keyboard(window):
    window.locator("#map").focus()
    start = latents(window)
    window.keyboard.press("ArrowRight")
    assert (latents(window) != start).any()
    window.keyboard.press("Enter")
    assert window.locator("#next").inner_text() == "end"


def test_two_chosen_images_are_the_ends_of_a_path(window):
    known = [
        np.array(window.evaluate(f"Array.from(jaxgenExplorer.latentsOf({n}))")) for n in (3, 9)
    ]
    window.locator("#thumbnails button").nth(3).click()
    window.locator("#thumbnails button").nth(9).click()
    np.testing.assert_allclose(latents(window), known[1], atol=1e-6)
    for t in (0.0, 0.5, 1.0):
        window.locator("#t").fill(str(t))
        expected = (1 - t) * known[0] + t * known[1]
        np.testing.assert_allclose(latents(window), expected, atol=1e-6)


def test_reconstruction_is_that_of_the_learner(window):
    learner = systems.vae_mnist(latent_size=12)
    images, _ = images_and_labels(learner.image_shape, 70)
    expected = np.asarray(learner.reconstruct(learner.init(jax.random.key(0)), images[5:6]))
    window.locator("#thumbnails button").nth(5).click()
    shown = np.array(picture(window)).reshape(28, 28, 4)[..., :1]
    # float16 weights move a pixel by less than a grey level here; the other is rounding to bytes.
    np.testing.assert_allclose(shown, 255 * expected[0], atol=1.5)


def test_nearest_training_images_are_sorted_by_distance(window):
    window.locator("#draw").click()
    window.wait_for_timeout(500)
    shown = [float(x) for x in window.locator("#nearest figcaption").all_inner_texts()]
    assert shown == sorted(shown)
    assert shown[0] > 0


def test_vae_mnist_decodes_thirty_pictures_a_second(chromium, page_of_vae):
    with opened(chromium, page_of_vae) as page:
        ready(page)
        decoded = page.evaluate(
            """() => {
              const z = jaxgenExplorer.latents;
              const stop = performance.now() + 500;
              let count = 0;
              while (performance.now() < stop) {
                z[0] = Math.sin(count++);
                jaxgenExplorer.decode(z, 0);
              }
              return 2 * count;
            }"""
        )
    assert decoded > 30


def test_a_condition_changes_the_picture(chromium, page_of_cvae):
    with opened(chromium, page_of_cvae) as page:
        ready(page)
        start = latents(page)
        page.locator("#condition").select_option("1")
        first = picture(page)
        page.locator("#condition").select_option("2")
        assert picture(page) != first
        np.testing.assert_array_equal(latents(page), start)
        assert page.locator("#condition option").first.inner_text() == BAD_NAME


def test_a_generator_is_explored_by_its_samples(chromium, page_of_gan):
    with opened(chromium, page_of_gan) as page:
        ready(page)
        before = picture(page)
        page.locator("#thumbnails button").nth(7).click()
        assert picture(page) != before
        assert page.locator("details summary").inner_text() == "90 more"


@pytest.mark.parametrize("reason", ["too large", "untranslatable"])
def test_a_decoder_that_does_not_fit_is_replaced_by_pictures(
    chromium, tmp_path, monkeypatch, reason
):
    if reason == "too large":
        monkeypatch.setattr(explorations, "MAX_WEIGHT_BYTES", 1000)
        message = "its weights take"
    else:
        monkeypatch.setattr(explorations, "decoder_program", _untranslatable)
        message = "an operation that a page cannot run (sort)"
    path = written(tmp_path, "cvae_mnist", hidden_sizes=(8,), latent_size=3)
    with opened(chromium, path) as page:
        ready(page)
        assert message in page.locator("main").inner_text()
        before = picture(page)
        page.locator("#sliders input").first.fill("-3")
        assert picture(page) != before


def _untranslatable(*_: Any) -> None:
    raise explorations.UntranslatableError("sort")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_is_accessible(chromium, page_of_cvae, width, scheme):
    with opened(chromium, page_of_cvae, width, scheme) as page:
        ready(page)
        assert overflow(page) == []
        assert accessibility_findings(page) == []


def test_the_file_works_from_any_folder(chromium, page_of_vae, tmp_path):
    copy = Path(shutil.copy(page_of_vae, tmp_path / "mailed to somebody.html"))
    with opened(chromium, copy) as page:
        ready(page)
        assert max(picture(page)) == 255


def test_names_are_escaped(page_of_vae):
    source = page_of_vae.read_text()
    assert BAD_NAME not in source
    assert "<script>alert" not in source


def test_a_latent_space_of_one_dimension_has_a_map(chromium, tmp_path):
    path = written(tmp_path, "vae_mnist", hidden_sizes=(4,), latent_size=1)
    with opened(chromium, path) as page:
        ready(page)
        assert picture(page)
