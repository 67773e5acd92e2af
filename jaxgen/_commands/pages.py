"""Pages written to where the user wants them."""

from pathlib import Path

from jaxgen._files import expanded, one_line_errors, printable, replacing


def write_page(output: Path, content: str) -> None:
    """Writes a page, whole or not at all, and says where it is.

    Raises:
      UserError: it cannot be written.
    """
    path = expanded(output)
    with one_line_errors("write", path, "choose another --output"), replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    size = path.stat().st_size / 1e6
    print(f"{printable(path)} ({size:.1f} MB): open it in a browser")
