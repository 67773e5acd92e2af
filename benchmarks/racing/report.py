"""The results of a race as Markdown and as a chart."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import markdown, ratios, spread

SIDES = {
    "torch_loader": "PyTorch, DataLoader",
    "torch_eager": "PyTorch, eager",
    "torch_compile": "torch.compile",
    "jaxgen_step": "jaxgen, step",
    "jaxgen_epoch": "jaxgen, epoch",
}
PEERS = {"numpyro": "NumPyro, epoch"}
POPULATION = {
    "torch_vmap": "torch.func.vmap",
    "torch_vmap_compile": "torch.func.vmap, compiled",
    "torch_processes": "PyTorch, a process a core",
    "jaxgen_vmap": "jax.vmap",
    "jaxgen_devices": "jaxgen, a device a core",
}
STARTS = {
    "torch_loader_cold": "PyTorch, DataLoader",
    "torch_eager_cold": "PyTorch, eager",
    "torch_compile_cold": "torch.compile, first start",
    "torch_compile_kept": "torch.compile, later starts",
    "jaxgen_epoch_cold": "jaxgen, first start",
    "jaxgen_epoch_kept": "jaxgen, later starts",
    "jaxgen_script_cold": "experiments/vae_mnist.py, first start",
    "jaxgen_script_kept": "experiments/vae_mnist.py, later starts",
}
UNTUNED = "float32, both as they come"
PARTS = ("float32", UNTUNED, "tf32", "bf16")
COLOURS = ("#bbbbbb", "#999999", "#777777", "#9ecae1", "#3182bd")


def everything(result: dict[str, Any]) -> str:
    """Every table of every part, each under its own heading."""
    tables = []
    for part in PARTS:
        rows = result.get(part, {})
        if systems := rows.get("systems"):
            tables += [f"{part}, seconds per epoch, median (range)", times_table(systems)]
            if peers := peers_table(systems):
                tables += [f"{part}, other JAX libraries, seconds per epoch", peers]
            tables += [f"{part}, throughput, compile time and memory", costs_table(systems)]
        if populations := rows.get("populations"):
            tables += [f"{part}, many seeds at once", population_table(populations)]
        if starts := rows.get("first_epoch"):
            tables += [f"{part}, from process start", start_table(starts)]
    return "\n\n".join(tables)


def fastest(entry: dict[str, Any], library: str, among: Sequence[str] = tuple(SIDES)) -> str:
    """The side of a library with the smallest median."""
    sides = [side for side in among if side.startswith(library) and side in entry["sides"]]
    return min(sides, key=lambda side: statistics.median(entry["sides"][side]["seconds"]))


def epoch_seconds(entry: dict[str, Any], side: str) -> list[float]:
    """Seconds per epoch in each turn, extrapolated if a turn is less than an epoch."""
    factor = entry["epoch_steps"] / entry["steps"]
    return [factor * seconds for seconds in entry["sides"][side]["seconds"]]


def advantage(entry: dict[str, Any]) -> list[float]:
    """Best PyTorch side over best jaxgen side, turn by turn."""
    sides = entry["sides"]
    theirs, ours = fastest(entry, "torch"), fastest(entry, "jaxgen")
    return ratios(sides[theirs]["seconds"], sides[ours]["seconds"])


def over_loader(entry: dict[str, Any]) -> list[float]:
    """PyTorch with a DataLoader over the best jaxgen side, turn by turn."""
    ours = entry["sides"][fastest(entry, "jaxgen")]["seconds"]
    return ratios(entry["sides"]["torch_loader"]["seconds"], ours)


def times_table(systems: dict[str, Any]) -> str:
    """Seconds per epoch of each side, and ratios."""
    rows = []
    for name, entry in systems.items():
        partial = entry["steps"] < entry["epoch_steps"]
        times = [spread(epoch_seconds(entry, side)) for side in SIDES]
        label = f"{name} †" if partial else name
        rows.append([label, *times, spread(advantage(entry)), spread(over_loader(entry))])
    header = ["", *SIDES.values(), "best PyTorch / best jaxgen", "DataLoader / best jaxgen"]
    note = "\n\n† extrapolated: " + "; ".join(
        f"{name} from {entry['steps']} of {entry['epoch_steps']} steps"
        for name, entry in systems.items()
        if entry["steps"] < entry["epoch_steps"]
    )
    return markdown(header, rows) + (note if "from" in note else "")


def peers_table(systems: dict[str, Any]) -> str:
    """Other JAX libraries beside the best jaxgen side; empty where none was measured."""
    rows = []
    for name, entry in systems.items():
        ours = fastest(entry, "jaxgen")
        for side, label in PEERS.items():
            if side in entry["sides"]:
                times = [spread(epoch_seconds(entry, each)) for each in (side, ours)]
                turns = [entry["sides"][each]["seconds"] for each in (side, ours)]
                rows.append([name, label, *times, spread(ratios(*turns))])
    header = ["", "library", "seconds", "best jaxgen, seconds", "library / best jaxgen"]
    return markdown(header, rows) if rows else ""


def costs_table(systems: dict[str, Any]) -> str:
    """Throughput, compiling, memory, arithmetic, and time to a held-out loss."""
    header = [
        "",
        "side",
        "images/s",
        "ms per step",
        "compiling, s",
        "peak memory, MiB",
        "share of the float32 product peak",
        "to held-out loss, s",
    ]
    rows = []
    for name, entry in systems.items():
        for side, label in (SIDES | PEERS).items():
            if side not in entry["sides"]:
                continue
            row = entry["sides"][side]
            seconds = statistics.median(row["seconds"])
            peak = max(entry["peak_flops"].values())
            reached = row.get("to_held_out")
            rows.append(
                [
                    name,
                    label,
                    f"{entry['steps'] * entry['images_per_step'] / seconds:,.0f}",
                    f"{1e3 * seconds / entry['steps']:.2f}",
                    f"{row['compile_seconds']:.1f}",
                    f"{row['peak_mib']:,.0f}",
                    f"{entry['flops_per_step'] * entry['steps'] / seconds / peak:.0%}",
                    held_out(reached, entry["held_out"]),
                ]
            )
    return markdown(header, rows)


def held_out(reached: dict[str, Any] | None, wanted: float | None) -> str:
    """As in "9.1 (110 nats, 5 epochs)"."""
    if reached is None:
        return ""
    if reached["seconds"] is None:
        return f"not in {reached['epochs']} epochs"
    return f"{reached['seconds']:.1f} ({wanted:g} nats, {reached['epochs']} epochs)"


def population_table(populations: dict[str, Any]) -> str:
    """Images per second of the whole population, not of one run."""
    rows = []
    for name, entry in populations.items():
        images = entry["population"] * entry["batch_size"] * entry["steps"]
        sides = {side: values["seconds"] for side, values in entry["sides"].items()}
        theirs, ours = (fastest(entry, of, tuple(POPULATION)) for of in ("torch", "jaxgen"))
        throughput = [
            f"{images / statistics.median(sides[side]):,.0f}" if side in sides else ""
            for side in POPULATION
        ]
        rows.append([name, *throughput, spread(ratios(sides[theirs], sides[ours]))])
    labels = [f"{label}, images/s of all" for label in POPULATION.values()]
    return markdown(["system x seeds", *labels, "best PyTorch / best jaxgen"], rows)


def start_table(starts: dict[str, Any]) -> str:
    """Seconds from the start of a process to the end of its first epoch."""
    rows = [
        [name, label, spread(entry["seconds"][side])]
        for name, entry in starts.items()
        for side, label in STARTS.items()
        if side in entry["seconds"]
    ]
    return markdown(["", "process", "seconds to the end of the first epoch"], rows)


def draw(result: dict[str, Any], path: Path) -> None:
    """Images per second of every side relative to PyTorch eager, as docs/race.png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    systems = result["float32"]["systems"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = 0.8 / len(SIDES)
    for index, (side, label) in enumerate(SIDES.items()):
        values = [
            ratios(entry["sides"]["torch_eager"]["seconds"], entry["sides"][side]["seconds"])
            for entry in systems.values()
        ]
        middle = [statistics.median(turns) for turns in values]
        low = [m - min(turns) for m, turns in zip(middle, values, strict=True)]
        high = [max(turns) - m for m, turns in zip(middle, values, strict=True)]
        places = [i + (index - 2) * width for i in range(len(systems))]
        axes.bar(places, middle, width, yerr=[low, high], label=label, color=COLOURS[index])
    axes.axhline(1, color="black", linewidth=0.5)
    axes.set_xticks(range(len(systems)), list(systems), rotation=15)
    axes.set_ylabel("speed, PyTorch eager = 1")
    figure.legend(loc="outside lower center", ncols=len(SIDES), fontsize="small", frameon=False)
    machine = result["machine"]
    name = machine["accelerator"] or f"{machine['processor']}, {machine['threads']} threads"
    axes.set_title(f"float32, {name}", fontsize="medium")
    figure.savefig(path, dpi=120)
