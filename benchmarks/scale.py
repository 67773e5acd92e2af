"""What a step on many devices moves and costs: docs/scale.md's tables.

    python benchmarks/scale.py           # measures, and writes benchmarks/results/scale.json
    python benchmarks/scale.py --publish # writes the tables into docs/scale.md

Each system's step is compiled for 8 CPU devices, with the convolutions as accelerators get them,
and the collective operations in the compiled program are counted. The loop over the updates of a
critic is counted as often as it runs, together with the rest of the step: an upper bound. A small
model of costs then says what a step takes on more devices; its constants are below.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scale.json"
PAGE = ROOT / "docs" / "scale.md"
SIZES = {"f32": 4, "u8": 1, "s32": 4, "pred": 1, "u32": 4, "bf16": 2}
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
LINE = re.compile(rf"\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({KINDS})(?:-start)?\(")

# The model. A device does RATE operations a second, a third of an H100's float32 peak; a step takes
# FLOOR seconds at least, as measured on an H200 for vae_mnist. Eight devices share a host.
RATE = 2e13
FLOOR = 1.0e-4
IN_HOST = {"bandwidth": 2e11, "latency": 2e-5}  # NVLink, bytes and seconds for each operation
BETWEEN_HOSTS = {"bandwidth": 2.5e10, "latency": 6e-5}  # 400 Gbit/s for each device, half of it
DEVICES = (1, 8, 64, 512)
HOST = 8


def compiled(name: str, num_devices: int, batch_size: int | None = None) -> Any:
    """A system's step on so many devices, lowered."""
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    from jaxgen import learners, systems
    from jaxgen.convolutions import platforms, products

    learner = getattr(systems, name)(**({"batch_size": batch_size} if batch_size else {}))
    axis = learners.BATCH_AXIS
    chosen = np.array(jax.devices()[:num_devices])
    mesh = Mesh(chosen, (axis,), axis_types=(AxisType.Auto,))

    def spread(x: Any, *names: str) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, PartitionSpec(*names))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    state = jax.tree.map(spread, jax.eval_shape(learner.init, jax.random.key(0)))
    shape = (learner.images_per_step, *learner.image_shape)
    names = (axis,) if learner.images_per_step == learner.batch_size else ()
    images = spread(jax.ShapeDtypeStruct(shape, np.uint8), *names)
    labels = {}
    if learner.num_classes:
        labels["labels"] = spread(jax.ShapeDtypeStruct(shape[:1], np.int32), *names)
    with mock.patch.object(products, "on_cpu", platforms.on_any), jax.set_mesh(mesh):
        return learner.step.lower(state, images, jax.random.key(0), **labels).compile(), learner


def collectives(text: str) -> dict[str, list[int]]:
    """Kind -> [how many, bytes of their results] in a compiled program; loops count once."""
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        if match := LINE.match(line):
            entry = found.setdefault(match[2], [0, 0])
            entry[0] += 1
            entry[1] += _bytes(match[1])
    return found


def _bytes(shapes: str) -> int:
    pattern = rf"({'|'.join(SIZES)})\[([\d,]*)\]"
    return sum(
        SIZES[kind] * int(np.prod([int(d) for d in sides.split(",") if d]))
        for kind, sides in re.findall(pattern, shapes)
    )


def measure() -> dict[str, Any]:
    """For each system: batch size, parameters, operations of a step, and what 8 devices move."""
    from jaxgen import systems

    rows = {}
    for name in systems.__all__:
        batch_size = 24 if name == "iwae_mnist" else None  # 20 cannot be divided by 8
        alone, learner = compiled(name, 1, batch_size)
        program, _ = compiled(name, HOST, batch_size)
        state = jax.eval_shape(learner.init, jax.random.key(0))
        updates = learner.images_per_step // learner.batch_size
        found = collectives(program.as_text())
        rows[name] = {
            "batch_size": learner.batch_size,
            "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
            "operations": updates * float(alone.cost_analysis()["flops"]),
            "collectives": {kind: [updates * n for n in both] for kind, both in found.items()},
        }
        print(name, rows[name], flush=True)
    return rows


def seconds(row: dict[str, Any], num_devices: int) -> float:
    """Of a step whose batch is divided among so many devices, by the model."""
    computing = max(row["operations"] / RATE / num_devices, FLOOR)
    if num_devices == 1:
        return computing
    number = sum(count for count, _ in row["collectives"].values())
    moved = sum(size for _, size in row["collectives"].values())
    link = IN_HOST if num_devices <= HOST else BETWEEN_HOSTS
    share = 2 * (num_devices - 1) / num_devices  # of a ring all-reduce
    return computing + number * link["latency"] + share * moved / link["bandwidth"]


def tables(rows: dict[str, Any]) -> dict[str, str]:
    """The two tables in Markdown, by their names in the page."""
    moved = ["| | batch | parameters | operations | collectives | bytes |", "|---" * 6 + "|"]
    times = [f"| | {' | '.join(map(str, DEVICES))} | efficiency of 512 |"]
    times.append("|---" * (len(DEVICES) + 2) + "|")
    for name, row in rows.items():
        number = sum(count for count, _ in row["collectives"].values())
        size = sum(size for _, size in row["collectives"].values())
        moved.append(
            f"| `{name}` | {row['batch_size']} | {row['parameters']:,} "
            f"| {row['operations'] / 1e9:.3g} G | {number} | {size / 1e6:.2f} MB |"
        )
        cells = [f"{seconds(row, n) * 1e3:.2f} ms" for n in DEVICES]
        larger = row | {"operations": row["operations"] * DEVICES[-1]}
        efficiency = seconds(row, 1) / seconds(larger, DEVICES[-1])
        times.append(f"| `{name}` | {' | '.join(cells)} | {efficiency:.0%} |")
    return {"moved": "\n".join(moved), "times": "\n".join(times)}


def published(text: str, rows: dict[str, Any]) -> str:
    """The page with the tables of these rows."""
    for name, table in tables(rows).items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}{table}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> None:
    """Measures, or publishes what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--publish", action="store_true", help="write the tables into the page")
    if parser.parse_args().publish:
        PAGE.write_text(published(PAGE.read_text(), json.loads(RESULT.read_text())))
        return
    sys.path.insert(0, str(ROOT))
    jax.config.update("jax_num_cpu_devices", HOST)
    RESULT.write_text(json.dumps(measure(), indent=1) + "\n")


if __name__ == "__main__":
    main()
