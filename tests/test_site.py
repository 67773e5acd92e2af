"""The documentation site: it builds strictly, and its reference has every public name."""

import importlib
import os
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

import jaxgen

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def public_names(module: ModuleType) -> list[str]:
    return getattr(module, "__all__", [])


def test_every_public_name_has_an_entry(site: Path):
    inventory = (site / "objects.inv").read_bytes()
    body = inventory[inventory.index(b"\n", inventory.index(b"zlib")) + 1 :]
    entries = {line.split()[0] for line in zlib.decompress(body).decode().splitlines()}
    packages = {name: importlib.import_module(f"jaxgen.{name}") for name in jaxgen.__all__}
    expected = {f"jaxgen.{name}" for name in packages}
    for name, package in packages.items():
        expected |= {f"jaxgen.{name}.{public}" for public in public_names(package)}
    assert len(expected) > 60
    assert expected - entries == set()


def test_pages_load_nothing_from_elsewhere(site: Path):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text, page
        assert '<link rel="stylesheet" href="http' not in text, page


def test_equations_are_rendered(site: Path):
    assert (site / "systems" / "vae_mnist.html").read_text().count("<math") >= 3


def test_completed_docstrings_are_shown(site: Path):
    """The arguments of a system are described by a decorator, not in the source."""
    assert "dimensions of the latent space" in (site / "api" / "systems.html").read_text()


@pytest.mark.parametrize("width", [400, 1400])
def test_no_page_is_wider_than_the_window(site: Path, chromium, width: int):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    wide = []
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        found = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide.append(f"{path.relative_to(site)}: {found}")
    page.close()
    assert wide == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("visualization", ["report.report_page", "comparison.comparison_page"]),
        ("visualization", ["explorations.explore", "explorer.explorer_page"]),
        ("models", ["losses.kl_standard_normal", "losses.importance_weighted_bound"]),
        ("models", ["likelihoods.bernoulli", "adversarial_losses.AdversarialLoss"]),
        ("evaluation", ["latents.interpolation", "log_likelihood", "frechet_distance"]),
    ],
)
def test_modules_below_the_packages_are_described(site: Path, page: str, names: list[str]):
    text = (site / "api" / f"{page}.html").read_text()
    for name in names:
        assert f'id="jaxgen.{page}.{name}"' in text, name
