"""Lets the reference show docstrings that a decorator completes, as those of the systems."""

import importlib
import inspect
from typing import Any

import griffe


class CompletedDocstrings(griffe.Extension):
    """Replaces the docstring in the source of a system by the one it has at run time."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called by griffe for each function that it has read."""
        if func.docstring is None or not func.path.startswith("jaxgen.systems."):
            return
        value = getattr(importlib.import_module(func.module.path), func.name, None)
        func.docstring.value = inspect.getdoc(value) or func.docstring.value
