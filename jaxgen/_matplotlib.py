"""matplotlib, imported whatever backend the environment names: jaxgen draws without one."""

import contextlib
import os
import sys
from types import ModuleType


def import_matplotlib() -> ModuleType:
    """Imports matplotlib; call this before anything is imported from it.

    Notebooks name their own backend to every process that they start (MPLBACKEND). Where it is
    not installed, `import matplotlib` fails with a ValueError. Here a backend that can be had
    becomes matplotlib's default as ever, and any other is ignored.
    """
    if "matplotlib" not in sys.modules:
        backend = os.environ.pop("MPLBACKEND", None)
        try:
            import matplotlib
        finally:
            if backend is not None:
                os.environ["MPLBACKEND"] = backend
        if backend:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = backend
    return sys.modules["matplotlib"]
