"""PyTorch's sides of the race: as the originals are written, data in memory, compiled."""

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import torch_twins
from benchmarks.racing.course import Course, check_noise
from benchmarks.racing.devices import Choice, torch_matmul_precision

SIDES = ("torch_loader", "torch_eager", "torch_compile")


class Pictures(Dataset):
    """Images one by one, as torchvision's MNIST with ToTensor gives them: a PIL image, a tensor.

    Decoding and resizing of photographs is not done again: that favours PyTorch.
    """

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.fromarray(self.images[index].squeeze())
        pixels = torch.from_numpy(np.array(picture, copy=True))
        pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands()))
        return pixels.permute((2, 0, 1)).contiguous().to(torch.float32).div(255)


class Torch:
    """One system on one of SIDES; its methods answer a worker's orders."""

    def __init__(self, side: str, course: Course, choice: Choice, folder: Path, steps: int):
        self.side, self.course, self.choice, self.steps = side, course, choice, steps
        torch.set_float32_matmul_precision(torch_matmul_precision(choice.precision))
        # cuDNN's convolutions take TF32 unless told otherwise, whatever the products do.
        torch.backends.cudnn.allow_tf32 = choice.precision == "tf32"
        torch.backends.cudnn.benchmark = choice.device == "cuda"
        self.twin: ModuleType = getattr(torch_twins, course.name)
        self.networks: nn.Module = self.twin.networks()
        self.initial = read_weights(folder / "weights.npz", bool(self.twin.PARTS))
        torch_twins.load_state_dicts(self.twin, self.networks, self.initial)
        self.networks.to(choice.device)
        # The loader's side is what the originals do; the others take the fastest that there is.
        tuned = side != "torch_loader"
        if tuned and choice.channels_last:
            self.networks.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        options = choice.optimizer_options if tuned else {}
        self.optimizer = self.twin.make_optimizer(self.networks, **options)
        self.step = self.twin.train_step
        if side == "torch_compile":
            self.step = compiled_step(course, self.twin, self.networks, choice)

        images = np.load(folder / "train.npy")[: steps * course.images_per_step]
        self.test = self.on_device(np.load(folder / "test.npy"))
        if side == "torch_loader":
            self.loader = DataLoader(
                Pictures(images), course.images_per_step, shuffle=True, drop_last=True
            )
        else:
            self.images = self.on_device(images)
        self.terms: dict[str, Any] = {}

    def on_device(self, images: np.ndarray) -> Tensor:
        """All images as the networks see them."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(torch.float32)
        pixels = self.twin.prepare(pixels.div_(255)).to(self.choice.device)
        if self.side != "torch_loader" and self.choice.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return pixels

    def shaped(self, images: Tensor) -> Tensor:
        """The images of one step, as train_step takes them."""
        if self.course.num_critic_steps == 1:
            return images
        return images.unflatten(0, (self.course.num_critic_steps, self.course.batch_size))

    def batches(self) -> Iterator[Tensor]:
        """The images of each step of a shuffled epoch."""
        if self.side == "torch_loader":
            for images in self.loader:
                yield self.shaped(self.twin.prepare(images.to(self.choice.device)))
            return
        order = torch.randperm(len(self.images), device=self.choice.device)
        for rows in order.split(self.course.images_per_step):
            yield self.shaped(self.images[rows])

    def facts(self) -> dict[str, Any]:
        """What both sides must have alike."""
        return {"parameters": sum(p.numel() for p in self.networks.parameters())}

    def losses(self, steps: int) -> list[dict[str, float]]:
        """Loss terms of the first steps on the first images with the shared noise; then resets."""
        course = self.course
        images = self.shaped(self.test[: course.images_per_step])
        noise = torch.from_numpy(check_noise(noise_shape(course, self.networks)))
        if course.num_critic_steps > 1:
            noise = noise.expand(course.num_critic_steps + 1, *noise.shape)
        noise = noise.to(self.choice.device)
        found = []
        for _ in range(steps):
            with self.precision():
                terms = self.twin.train_step(self.networks, self.optimizer, images, noise)
            found.append({name: term.item() for name, term in terms.items()})
        self.restart()
        return found

    def restart(self) -> None:
        """Initial weights and an optimizer that remembers nothing, in place: nothing recompiles."""
        torch_twins.load_state_dicts(self.twin, self.networks, self.initial)
        optimizers = self.optimizer
        for each in optimizers.values() if isinstance(optimizers, dict) else [optimizers]:
            for state in each.state.values():
                for tensor in state.values():
                    tensor.zero_()

    def measure(self) -> float:
        """Seconds of one stretch."""
        self.synchronize()
        start = time.perf_counter()
        for images in self.batches():
            with self.precision():
                self.terms = self.step(self.networks, self.optimizer, images)
            if self.side == "torch_loader":  # as the originals' running sums do
                self.terms = {name: term.item() for name, term in self.terms.items()}
        self.synchronize()
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """Terms of the newest step."""
        return {name: float(term) for name, term in self.terms.items()}

    @torch.no_grad()
    def held_out(self) -> float:
        """The loss of the test images, in evaluation mode, mean over the images."""
        self.networks.eval()
        total = 0.0
        for images in self.test.split(500):
            with self.precision():
                loss, _ = self.twin.loss(self.networks(images), images)
            total += loss.item() * len(images)
        self.networks.train()
        return total / len(self.test)

    def flops(self) -> int:
        """Operations of the products and convolutions of one step, value and gradients."""
        images = self.shaped(self.test[: self.course.images_per_step])
        with FlopCounterMode(display=False) as counter:
            self.twin.train_step(self.networks, self.optimizer, images)
        self.restart()
        return counter.get_total_flops()

    def peak(self) -> float:
        """The rate of large matrix products, in operations per second."""
        size = 2048 if self.choice.device == "cpu" else 8192
        a, b = torch.randn(2, size, size, device=self.choice.device)
        best = float("inf")
        for _ in range(10):
            self.synchronize()
            start = time.perf_counter()
            with self.precision():
                torch.mm(a, b)
            self.synchronize()
            best = min(best, time.perf_counter() - start)
        return 2 * size**3 / best

    def memory(self) -> float:
        """Peak memory in MiB, of the device if it has its own memory."""
        if self.choice.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def precision(self) -> contextlib.AbstractContextManager:
        """The context of a step."""
        if self.choice.precision == "bf16":
            return torch.autocast(self.choice.device, torch.bfloat16)
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.choice.device == "cuda":
            torch.cuda.synchronize()


def compiled_step(course: Course, twin: ModuleType, networks: nn.Module, choice: Choice) -> Any:
    """train_step compiled, or its networks where it has two backward passes through one graph."""
    if course.name != "dcgan_mnist":
        return torch.compile(twin.train_step, dynamic=False, mode=choice.compile_mode)
    for part in twin.PARTS:
        networks.get_submodule(part).compile(dynamic=False, mode=choice.compile_mode)
    return twin.train_step


def noise_shape(course: Course, networks: nn.Module) -> tuple[int, ...]:
    """Of the noise of one update."""
    if course.name == "vae_animals":
        return (10, course.batch_size, 128)
    sizes = {"vae_batchnorm_mnist": 32, "vae_flowers": 10, "dcgan_mnist": 100, "wgan_mnist": 100}
    return (course.batch_size, sizes.get(course.name, 20))


def read_weights(path: Path, parts: bool) -> dict[str, Any]:
    """State dicts from an archive whose names are PART/KEY, or KEY alone."""
    with np.load(path) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    if not parts:
        return arrays
    dicts: dict[str, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        part, _, key = name.partition("/")
        dicts.setdefault(part, {})[key] = array
    return dicts
