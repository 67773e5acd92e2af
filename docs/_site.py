"""What the site adds to Markdown: equations without a script, and the names of a package."""

import importlib
import re
import sys
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]


def on_config(config):
    """Renders ```math blocks, which GitHub renders too, as MathML."""
    fence = {"name": "math", "class": "math", "format": _equation}
    config["mdx_configs"].setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_page_markdown(markdown, **_):
    """Replaces a line `:::: module` by an entry for each public name of the module."""
    return re.sub(r"^:::: (\S+)$", _entries, markdown, flags=re.MULTILINE)


def _entries(match):
    return "\n".join(f"::: {match[1]}.{name}\n" for name in public_names(match[1]))


def public_names(module_name):
    """Names in `__all__`; without one, functions and classes that the module defines."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(module_name)
    defined = [name for name, value in vars(module).items() if _defined_in(value, module_name)]
    return getattr(module, "__all__", defined)


def _defined_in(value, module_name):
    return (
        getattr(value, "__module__", None) == module_name
        and hasattr(value, "__name__")
        and not value.__name__.startswith("_")
    )


def _equation(source, *_, **__):
    rows = [convert(row, display="block") for row in source.strip().split(r"\\")]
    return f'<div class="equation">{"".join(rows)}</div>'
