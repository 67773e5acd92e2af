"""report.html of a run, from the files in its folder."""

import inspect
import json
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import systems
from jaxgen._files import one_line_errors, replacing
from jaxgen._published import PUBLISHED
from jaxgen.runs._page_pictures import figure_of, pictures_of
from jaxgen.runs.recorded import read_config, read_records
from jaxgen.runs.references import EQUATIONS, references_of
from jaxgen.visualization import grids
from jaxgen.visualization.report import (
    Report,
    report_page,
)

NAME = "report.html"
DATA_PICTURE = "dataset.png"
SECONDS_BETWEEN = 10.0
LARGEST_SHARE = 0.02  # of a run's time
NUM_DATA_IMAGES = 12
RECENT = 10  # epochs that the time left is estimated from

# What config.json has besides the configuration of the learner and the run.
FACTS = ("dataset", "dataset_fingerprint", "num_examples", "image_shape", "seed", "device")
UNRECORDED = ("system", "versions", "data_dir", *FACTS)


class LiveReport:
    """Keeps the page of a running run up to date, in at most 2% of its time.

    Args:
      folder: of the run.
      images: of the data, uint8 [N, H, W, C]; the page shows the first few.
    """

    def __init__(self, folder: Path, images: np.ndarray):
        self._folder = folder
        self._next = 0.0
        row = np.asarray(images[:NUM_DATA_IMAGES])
        grids.save(folder / DATA_PICTURE, grids.grid(row, columns=len(row)))

    def update(self) -> None:
        """Writes the page, unless it was written in the last 10 s."""
        start = time.monotonic()
        if start < self._next:
            return
        write_report(self._folder, running=True)
        stop = time.monotonic()
        self._next = stop + max(SECONDS_BETWEEN, (stop - start) / LARGEST_SHARE)


def write_report(folder: Path, *, running: bool = False) -> Path:
    """Writes report.html of a run, whole or not at all; gives its path.

    Args:
      folder: of the run.
      running: whether the run goes on.

    Raises:
      UserError: the folder holds no run, or cannot be written.
    """
    path = folder / NAME
    with one_line_errors("write", path, "make room there, or mend the permissions"):
        content = report_page(report_of(folder, running=running))
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return path


def report_of(folder: Path, *, running: bool = False) -> Report:
    """What the page of a run shows, read from its folder.

    Raises:
      UserError: the folder holds no run.
    """
    config = read_config(folder)
    system, history = config.get("system"), read_records(folder)
    configuration = {name: value for name, value in config.items() if name not in UNRECORDED}
    series, figures = pictures_of(folder, history)
    return Report(
        title=f"{system or folder.resolve().name} on {config['dataset']}",
        status=_status(folder, config, history, running),
        description=_first_line(getattr(systems, system)) if system in systems.__all__ else "",
        equation=next((text for name, text in EQUATIONS.items() if _reports(history, name)), ""),
        facts=_facts(config),
        history=history,
        units=units_of(history),
        configuration=configuration,
        published=published_configuration(system),
        references=references_of(system, config["dataset"]),
        series=series,
        figures=figures,
        data_figure=figure_of(folder / DATA_PICTURE, "training images"),
        evaluation=_read_json(folder / "evaluation.json"),
        versions=config.get("versions", {}),
        command=command_of(config),
    )


def published_configuration(system: str | None) -> dict[str, Any]:
    """What a system was published with; {} for a learner of the user's own."""
    if system not in systems.__all__:
        return {}
    defaults = {"num_epochs": PUBLISHED[system].num_epochs}
    parameters = inspect.signature(getattr(systems, system)).parameters.values()
    return defaults | {parameter.name: parameter.default for parameter in parameters}


def command_of(config: Mapping[str, Any]) -> str | None:
    """The command that repeats a run of a named system: what is not the default, as flags."""
    system = config.get("system")
    if system not in systems.__all__:
        return None
    published = published_configuration(system)
    del published["num_epochs"]
    words = ["python", "-m", "jaxgen", "train", system]
    for name in ("dataset", "num_epochs", "num_examples", "seed"):
        if config.get(name) is not None:
            words += [_flag(name), str(config[name])]
    for name, default in published.items():
        value = config.get(name)
        if value is None or _as_json(value) == _as_json(default) or name == "image_shape":
            continue
        if isinstance(value, bool):
            words.append(_flag(name if value else f"no_{name}"))
        else:
            values = value if isinstance(value, list) else [value]
            words += [_flag(name), *map(str, values)]
    return shlex.join(words)


def units_of(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Units of the metrics: those of a VAE are in nats per image."""
    if not _reports(history, "kl"):
        return {}
    return dict.fromkeys(("loss", "elbo", "kl", "reconstruction"), "nats per image")


def _status(
    folder: Path, config: Mapping[str, Any], history: Sequence[Mapping[str, Any]], running: bool
) -> str:
    done, asked = len(history), config["num_epochs"]
    if running and done < asked:
        if not done:
            return f"Running: no epoch of {asked} is finished yet."
        seconds = statistics.median(record["seconds"] for record in history[-RECENT:])
        left = duration((asked - done) * seconds)
        return f"Running: epoch {done} of {asked} is finished, about {left} of training left."
    seconds = _read_json(folder / "summary.json").get("total_seconds")
    if seconds is None:
        return f"Stopped after epoch {done} of {asked}."
    return f"Finished: {done} epochs in {duration(seconds)}."


def duration(seconds: float) -> str:
    """A time in words: 42 s, 3 min, 2 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name.replace("_", " "): config[name] for name in FACTS if config.get(name) is not None}
    device = config.get("device")
    if isinstance(device, Mapping):
        facts["device"] = f"{device.get('count', 1)} x {device.get('kind', 'unknown')}"
    return facts


def _reports(history: Sequence[Mapping[str, Any]], metric: str) -> bool:
    return any(f"train/{metric}" in record for record in history[-1:])


def _first_line(system: Any) -> str:
    return (inspect.getdoc(system) or "").partition("\n")[0]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} where there is none that can be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
