"""A worker's process: one side of one system, controlled over standard input."""

from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.racing.course import COURSES
from benchmarks.racing.devices import Choice


def work(threads: int, arguments: dict[str, Any]) -> None:
    """Serves one side: {"call": method, "with": its arguments}.

    Each side imports its own library alone, so that memory and start-up are its own.
    """
    side, course = arguments["side"], COURSES[arguments["course"]]
    choice, folder = Choice(**arguments["choice"]), Path(arguments["folder"])
    if side == "prepare":
        from benchmarks.racing.preparing import prepare

        data = {name: arguments[name] for name in ("data_dir", "animals")}
        measuring.serve(lambda _: prepare(course, folder, **data))
        return
    steps = arguments["steps"]
    if side.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    if side in ("torch_vmap", "torch_vmap_compile"):
        from benchmarks.racing.torch_population import TorchPopulation

        runner: Any = TorchPopulation(side, course, choice, folder, steps, arguments["population"])
    elif side in ("jaxgen_vmap", "jaxgen_devices"):
        from benchmarks.racing.jaxgen_sides import Population

        number = arguments["population"]
        runner = Population(side, course, choice, folder, steps, number, threads)
    elif side == "torch_processes":
        from benchmarks.racing.torch_processes import TorchProcesses

        runner = TorchProcesses(threads, arguments)
    elif side == "torch_seeds":
        from benchmarks.racing.torch_processes import TorchSeeds

        runner = TorchSeeds(course, choice, folder, steps, arguments["population"])
    elif side.startswith("torch"):
        from benchmarks.racing.torch_sides import Torch

        runner = Torch(side, course, choice, folder, steps)
    elif side == "numpyro":
        from benchmarks.racing.numpyro_side import NumPyro

        runner = NumPyro(course, choice, folder, steps)
    else:
        from benchmarks.racing.jaxgen_sides import Jaxgen

        runner = Jaxgen(side, course, choice, folder, steps)
    measuring.serve(lambda order: getattr(runner, order["call"])(*order.get("with", ())))
