"""What the files in the folder of a run say, checked before anything relies on it."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from jaxgen._files import one_line_errors, printable, reason
from jaxgen.errors import UserError

# Entries of config.json that commands rely on, and their types.
REQUIRED: dict[str, tuple[type, ...]] = {
    "system": (str, NoneType),
    "dataset": (str,),
    "num_epochs": (int,),
    "num_examples": (int, NoneType),
    "seed": (int,),
}
OPTIONAL: dict[str, tuple[type, ...]] = {
    "data_dir": (str, NoneType),
    "dataset_fingerprint": (str,),
    "device": (dict,),
    "fit": (str,),
    "image_shape": (list,),
    "resolution": (int, NoneType),
    "validation_fraction": (float, int),
    "versions": (dict,),
}


def read_config(path: Path) -> dict[str, Any]:
    """What config.json of a run's folder contains.

    Raises:
      UserError: it is missing, unreadable or damaged.
    """
    file = path / "config.json"
    try:
        config = dict(json.loads(file.read_text()))
        _check_config(config)
        return config
    except OSError as error:
        raise UserError(
            f"expected the folder of a run at {printable(path)}, found no config.json that can be "
            f"read ({reason(error)}): check the path"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(file, error) from error


def damaged(file: Path, error: BaseException) -> UserError:
    """The error for a file of a run that is not as jaxgen writes it."""
    return UserError(
        f"{printable(file)} is damaged ({reason(error)}): restore it from a copy, choose another "
        "--workdir, or start from nothing with --overwrite"
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records in metrics.jsonl of a run's folder; a line that is being written is left out.

    Raises:
      UserError: they cannot be read, or are damaged.
    """
    file = path / "metrics.jsonl"
    with one_line_errors("read", file, "check the permissions"):
        content = file.read_bytes() if file.is_file() else b""
    try:
        records = [dict(json.loads(line)) for line in content.decode().split("\n")[:-1]]
        for record in records:
            _check_record(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(file, error) from error
    return records


def read_history(path: Path, num_epochs: int) -> list[dict[str, Any]]:
    """The records of the first `num_epochs` epochs.

    Raises:
      UserError: where there are fewer, or they are damaged.
    """
    history = read_records(path)[:num_epochs]
    if [record["epoch"] for record in history] != list(range(1, num_epochs + 1)):
        raise UserError(
            f"expected {printable(path / 'metrics.jsonl')} to hold epochs 1 to {num_epochs}, which "
            f"are saved, found {[record['epoch'] for record in history]}: --overwrite to start "
            "from nothing"
        )
    return history


def _check_config(config: Mapping[str, Any]) -> None:
    for name, types in (REQUIRED | OPTIONAL).items():
        if name not in config and name in OPTIONAL:
            continue
        value = config.get(name, ...)
        if not isinstance(value, types) or isinstance(value, bool):
            expected = " or ".join("null" if kind is NoneType else kind.__name__ for kind in types)
            found = "nothing" if value is ... else json.dumps(value)[:40]
            raise ValueError(f"expected {name} to be {expected}, found {found}")


def _check_record(record: Mapping[str, Any]) -> None:
    for name in ("epoch", "step", "seconds"):
        if name not in record:
            raise ValueError(f"a line has no {name}")
    for name, value in record.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ValueError(f"expected {name} to be a number, found {json.dumps(value)[:40]}")
