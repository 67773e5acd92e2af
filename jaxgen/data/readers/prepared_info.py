"""What the directory of a prepared set says of it."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen._files import reason
from jaxgen.errors import UserError

# The sets whose builders key each example by its place in the original files.
_KEYED_BY_INDEX = frozenset({"mnist", "fashion_mnist", "kmnist", "binarized_mnist"})


class Opened(NamedTuple):
    """What a prepared directory says of its set.

    Attributes:
      info: the DatasetInfo of tensorflow-datasets.
      image_key: name of the image feature.
      label_key: name of the class label; None without one.
    """

    info: Any
    image_key: str
    label_key: str | None

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.shape[-1]

    @property
    def shape(self) -> tuple[Any, ...]:
        """(H, W, C), None where images differ."""
        return self.info.features[self.image_key].shape

    @property
    def in_order_of_hash(self) -> bool:
        """Whether the examples are to be brought back to the order of the original files."""
        return self.info.name in _KEYED_BY_INDEX and not self.info.disable_shuffling


def open_set(path: Path) -> Opened:
    """Reads what a prepared directory says of its set.

    Raises:
      UserError: it is damaged, or the set holds no images.
    """
    import tensorflow_datasets as tfds

    try:
        _check_feature_classes(path)
        info: Any = tfds.builder_from_directory(path).info
    except Exception as error:
        raise damaged(path, error) from error
    return Opened(info, *_keys(path, info))


def damaged(what: Any, error: Exception) -> UserError:
    """The error for files that cannot be read, with the remedy."""
    return UserError(
        f"cannot read {what}: {reason(error)}; prepare the set again or choose another"
    )


def _check_feature_classes(path: Path) -> None:
    """Refuses features.json where it names a class of another package, which would be imported."""
    text = (path / "features.json").read_text(encoding="utf-8")
    for name in re.findall(r'"pythonClassName"\s*:\s*"([^"]*)"', text):
        if not name.startswith("tensorflow_datasets."):
            raise ValueError(
                f"features.json names {name}, which is no class of tensorflow_datasets"
            )


def _keys(path: Path, info: Any) -> tuple[str, str | None]:
    """The names of the image feature, and of the class label if the set has one."""
    from tensorflow_datasets import features

    kinds = dict(info.features.items()) if isinstance(info.features, features.FeaturesDict) else {}
    images = [key for key, kind in kinds.items() if type(kind) is features.Image]
    labels = [key for key, kind in kinds.items() if isinstance(kind, features.ClassLabel)]
    supervised = info.supervised_keys or ()
    images = [key for key in images if key in supervised] or images
    labels = [key for key in labels if key in supervised] or labels
    if len(images) != 1 or kinds[images[0]].np_dtype != np.uint8:
        raise UserError(
            f"{path} is no set of 8-bit images: expected one image feature, it has "
            f"{', '.join(kinds) or 'none'}; choose an image set"
        )
    return images[0], labels[0] if len(labels) == 1 else None
