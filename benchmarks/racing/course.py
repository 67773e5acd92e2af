"""The systems of the race, how much of an epoch is measured, and on which images."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Course(NamedTuple):
    """One system, under the name it has in jaxgen.systems and in torch_twins.

    Attributes:
      name: of the system.
      dataset: as `jaxgen.data.load` takes it; "animals" stands for --animals.
      resolution: that images are resized to before the race; None leaves them as they are.
      batch_size: the published one.
      num_critic_steps: batches per step; 1 for a VAE.
      steps: how many steps one measurement takes; None for a whole epoch.
      quick_steps: the same under --quick.
      channels_last: whether PyTorch is faster with the memory layout [B, H, W, C].
      held_out: the held-out loss, in nats per image, up to which training is timed; None for
        GANs and systems that would take an hour on a CPU.
      peers: other JAX libraries that are measured as well, where they are installed.
    """

    name: str
    dataset: str
    resolution: int | None = None
    batch_size: int = 128
    num_critic_steps: int = 1
    steps: int | None = None
    quick_steps: int = 50
    channels_last: bool = False
    held_out: float | None = None
    peers: tuple[str, ...] = ()

    @property
    def images_per_step(self) -> int:
        """Real images in one training step."""
        return self.num_critic_steps * self.batch_size

    def epoch_steps(self, num_images: int) -> int:
        """Steps of an epoch: whole batches only, on every side."""
        return num_images // self.images_per_step


COURSES = {
    course.name: course
    for course in (
        Course("vae_mnist", "mnist", held_out=110.0, peers=("numpyro",)),
        Course("vae_binarized_mnist", "mnist", held_out=100.0),
        Course("vae_batchnorm_mnist", "mnist", batch_size=64, held_out=110.0),
        Course("wgan_mnist", "mnist", batch_size=64, num_critic_steps=5, quick_steps=30),
        Course(
            "vae_flowers",
            "tfds:oxford_flowers102",
            resolution=32,
            batch_size=64,
            quick_steps=15,
            channels_last=True,
            held_out=150.0,
        ),
        Course("dcgan_mnist", "mnist", batch_size=64, steps=6, quick_steps=2, channels_last=True),
        Course(
            "vae_animals",
            "animals",
            resolution=128,
            batch_size=64,
            steps=2,
            quick_steps=1,
            channels_last=True,
        ),
    )
}
QUICK = ("vae_mnist", "vae_flowers")
POPULATIONS = ("vae_mnist", "vae_binarized_mnist", "vae_batchnorm_mnist")


def load(course: Course, data_dir: str | None, animals: str | None) -> tuple[str, Any]:
    """The data set as (name, Dataset); glyphs where MNIST is neither on disk nor to be had."""
    from jaxgen import data

    dataset = course.dataset
    if dataset == "animals":
        if animals is None:
            raise SystemExit(f"{course.name} takes a folder of photographs: pass --animals DIR")
        dataset = f"folder:{animals}"
    if dataset == "mnist":
        loaded = data.load_auto(data_dir)
    else:
        loaded = data.load(dataset, data_dir, resolution=course.resolution)
    # A path on this machine does not belong into the results.
    return "folder" if course.dataset == "animals" else loaded.name, loaded


def save_images(folder: Path, train: np.ndarray, test: np.ndarray) -> None:
    """Leaves uint8 images [N, H, W, C] where every side finds them."""
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)


def check_noise(shape: tuple[int, ...]) -> np.ndarray:
    """The noise of the check before the race, the same on both sides for as many numbers."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)
