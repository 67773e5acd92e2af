"""Pages in headless Chromium, cut off from the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SERIOUS = ("serious", "critical")


@contextmanager
def opened(
    browser: Any, path: Path, width: int = 1400, scheme: str = "light", javascript: bool = True
) -> Iterator[Any]:
    """A file in a window; any error, message in the console, or request for an address fails."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        offline=True,
        java_script_enabled=javascript,
        bypass_csp=True,  # for axe, which the tests run inside the page
    )
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.extend(_foreign(request.url)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


def _foreign(address: str) -> list[str]:
    return [] if address.startswith(("file:", "data:", "blob:")) else [f"request: {address[:100]}"]


def accessibility_findings(page: Any) -> list[str]:
    """What axe-core finds that is serious or worse."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {n['html'][:200]}" for v in found if v["impact"] in SERIOUS for n in v["nodes"]
    ]


def overflow(page: Any) -> list[str]:
    """Elements that stick out of the window, hold more than fits, or pictures out of proportion."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const scrolls = (e) => e.closest(".scroll, .thumbs, pre");
          const out = [];
          for (const e of document.body.querySelectorAll("*")) {
            const box = e.getBoundingClientRect();
            if (!box.width || scrolls(e)) continue;
            const cut = ["P", "H1", "H2", "H3", "BUTTON", "LABEL", "OUTPUT", "SUMMARY", "TD", "TH"];
            const natural = e.naturalWidth / e.naturalHeight;
            if (e.naturalWidth && Math.abs(box.width / box.height / natural - 1) > 0.03)
              out.push(`distorted: ${e.outerHTML.slice(0, 80)}`);
            if (box.right > width + 1) out.push(`sticks out: ${e.outerHTML.slice(0, 80)}`);
            if (cut.includes(e.tagName) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
              out.push(`cut: ${e.outerHTML.slice(0, 80)}`);
          }
          return out;
        }"""
    )
