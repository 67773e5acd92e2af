"""PyTorch's side of a population: stacked parameters, torch.func.vmap, one fused Adam."""

import copy
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from benchmarks import torch_twins
from benchmarks.racing.course import Course
from benchmarks.racing.devices import Choice, torch_matmul_precision


class TorchPopulation:
    """Many seeds of one VAE at once, each with its own batches and noise."""

    def __init__(
        self, side: str, course: Course, choice: Choice, folder: Path, steps: int, population: int
    ):
        self.choice, self.steps, self.population = choice, steps, population
        torch.set_float32_matmul_precision(torch_matmul_precision(choice.precision))
        self.batch_size = course.batch_size
        twin: Any = getattr(torch_twins, course.name)
        members: list[nn.Module] = [twin.networks().to(choice.device) for _ in range(population)]
        parameters, buffers = stack_module_state(members)
        skeleton = copy.deepcopy(members[0])
        # BatchNorm moves its running averages in place, and the counter beside them is no float.
        buffers = {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}
        optimizer = torch.optim.Adam(parameters.values(), lr=1e-3, **choice.optimizer_options)

        def loss(parameters: dict, buffers: dict, images: Tensor) -> Tensor:
            outputs = functional_call(skeleton, (parameters, buffers), (images,))
            return twin.loss(outputs, images)[0]

        losses = torch.vmap(loss, randomness="different")

        def step(images: Tensor) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            values = losses(parameters, buffers, images)
            values.sum().backward()
            optimizer.step()
            return values.detach()

        self.step = step
        if side == "torch_vmap_compile":
            self.step = torch.compile(step, dynamic=False, mode=choice.compile_mode)
        images = np.load(folder / "train.npy")[: steps * course.batch_size]
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(torch.float32)
        self.images = twin.prepare(pixels.div_(255)).to(choice.device)
        self.losses: Tensor = torch.zeros(population)

    def measure(self) -> float:
        """Seconds of one measurement of the whole population."""
        self.synchronize()
        start = time.perf_counter()
        orders = torch.stack(
            [
                torch.randperm(len(self.images), device=self.choice.device)
                for _ in range(self.population)
            ]
        )
        for rows in orders.split(self.batch_size, dim=1):
            self.losses = self.step(self.images[rows])
        self.synchronize()
        return time.perf_counter() - start

    def last(self) -> dict[str, float]:
        """The newest loss, mean over the population."""
        return {"loss": float(self.losses.mean())}

    def memory(self) -> float:
        """Peak memory, MiB."""
        if self.choice.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.choice.device == "cuda":
            torch.cuda.synchronize()
