"""Pages of one file: everything they show and run is inside them, and nothing is fetched."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

ASSETS = Path(__file__).parent / "assets"

# With this policy a browser refuses every address, so that nothing is sent or fetched.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def text(value: object) -> str:
    """Any value as text that HTML shows as it is, in elements and in quoted attributes."""
    return html.escape(str(value), quote=True)


def page(
    title: str,
    body: str,
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """A whole HTML file.

    Args:
      title: of the window.
      body: HTML, with every name in it escaped by `text`.
      styles: names of style sheets in assets/, after page.css.
      scripts: names of scripts in assets/, in order.
      data: what the scripts read, by the id of the element that holds it: JSON values, or bytes,
        which become base64.
    """
    held = "\n".join(_held(name, value) for name, value in (data or {}).items())
    run = "\n".join(f"<script>\n{_script(name)}</script>" for name in scripts)
    return Template((ASSETS / "page.html").read_text()).substitute(
        policy=POLICY,
        title=text(title),
        style="\n".join((ASSETS / name).read_text() for name in ("page.css", *styles)),
        body=body,
        data=held,
        scripts=run,
    )


def picture(image: np.ndarray) -> str:
    """A uint8 image [H, W, C] as the address of a PNG that holds it."""
    return data_address(png(image), "image/png")


def png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, C], C 1 or 3, as a PNG file."""
    buffer = io.BytesIO()
    pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_address(content: bytes, kind: str) -> str:
    """An address that holds the content itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _held(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        content, kind = base64.b64encode(value).decode(), "application/octet-stream"
    else:
        # Inside a script element only "<" can end it; JSON may write it as an escape.
        content = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
        kind = "application/json"
    return f'<script id="{text(name)}" type="{kind}">{content}</script>'


def _script(name: str) -> str:
    source = (ASSETS / name).read_text()
    if "</script" in source.lower():
        raise ValueError(f"{name} contains what ends a script element")
    return source
