import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors

from jaxgen.errors import UserError
from jaxgen.runs import _checkpoint_files as files
from jaxgen.runs.checkpoints import Checkpoints


class State(NamedTuple):
    params: Any
    opt_state: Any
    step: jax.Array
    batch_stats: Any = None


def make_state(seed: int = 0, width: int = 4) -> State:
    """Every kind of leaf that is easily lost: bfloat16, bool, 0-d, empty, NaN, -0, like names."""
    draw = np.random.default_rng(seed)
    params = {
        "Dense_0": {"kernel": jnp.asarray(draw.normal(size=(3, width)), jnp.float32)},
        "Dense_0.kernel": jnp.asarray(draw.normal(size=(3, width)), jnp.float32),
        "small": jnp.asarray(draw.integers(-8, 8, 5), jnp.int4),  # unknown to safetensors
        "key": jax.random.key(seed, impl="rbg"),
        "complex": jnp.asarray(draw.normal(size=3) + 1j, jnp.complex64),
        "half": jnp.asarray(draw.normal(size=(7,)), jnp.bfloat16),
        "odd": jnp.asarray([np.nan, -0.0, np.inf, 1e-42], jnp.float32),
        "mask": jnp.asarray([True, False, True]),
        "empty": jnp.zeros((0, 3)),
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.masked(optax.adam(1e-3), {name: name == "Dense_0" for name in params}),
    )
    return State(params, optimizer.init(params), jnp.asarray(seed, jnp.int32))


def assert_identical(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def write(directory: Path, *steps: int, keep: int = 2) -> None:
    with Checkpoints(directory, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), {"of": step})


def read(directory: Path, template: Any = None) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        found = checkpoints.restore_latest(make_state() if template is None else template)
    return found, warnings


def slow(values: Any) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def all_files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [path.name for path in found] == ["SHA256SUMS", "checkpoint.json", "state.safetensors"]
    return found


def flip_bit(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("abstract", [False, True])
def test_round_trip_is_exact(tmp_path: Path, abstract: bool):
    metadata = {"loss": 104.8, "best": float("inf"), "names": ["a", "b"], "seeds": {10: 1, 9: 2}}
    with Checkpoints(tmp_path / "new" / "checkpoints") as checkpoints:
        assert checkpoints.restore_latest(make_state()) is None
        checkpoints.save(3, make_state(3), metadata)
    template = jax.eval_shape(make_state) if abstract else make_state()
    found, warnings = read(tmp_path / "new" / "checkpoints", template)
    assert found.step == 3
    assert found.metadata == metadata | {"seeds": {"10": 1, "9": 2}}
    assert_identical(found.state, make_state(3))
    assert warnings == []


def test_restores_to_the_templates_devices(tmp_path: Path):
    write(tmp_path, 1)
    device = jax.devices()[0]
    assert not any(leaf.committed for leaf in jax.tree.leaves(read(tmp_path)[0].state))
    placed = read(tmp_path, jax.device_put(make_state(), device))[0].state
    assert all(leaf.committed for leaf in jax.tree.leaves(placed))
    assert all(leaf.devices() == {device} for leaf in jax.tree.leaves(placed))


def test_state_may_be_donated_at_once(tmp_path: Path):
    """Both ways: a saved state's buffers are overwritten at once, and so are a restored one's."""
    advance = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"weights": jnp.zeros((512, 512))}
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        for step in range(5):
            checkpoints.save(step, state)
            for _ in range(3):
                state = advance(state)
        found = checkpoints.restore_latest(state)
        assert found is not None
        assert found.step == 4
        np.testing.assert_array_equal(found.state["weights"], 12.0)
        np.testing.assert_array_equal(advance(found.state)["weights"], 13.0)


def test_only_the_newest_are_kept(tmp_path: Path):
    write(tmp_path, 1, 2, 3, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_an_earlier_step_replaces_later_ones(tmp_path: Path):
    write(tmp_path, 4, 5)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, make_state(50))
    assert_identical(read(tmp_path)[0].state, make_state(50))
    write(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def small_state(seed: int) -> dict[str, jax.Array]:
    return {"weights": jnp.arange(40.0) + seed, "step": jnp.int32(seed)}


@pytest.mark.parametrize("every", [7, *slow([1])])
def test_every_single_bit_is_protected(tmp_path: Path, every: int):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, small_state(2))
    template = small_state(0)
    for path in all_files(tmp_path / "2"):
        for bit in range(0, 8 * path.stat().st_size, every):
            flip_bit(path, bit)
            with pytest.raises(files.DamagedError, match=path.name):
                files.read(tmp_path / "2", 2, template)
            flip_bit(path, bit)
    assert_identical(read(tmp_path, template)[0].state, small_state(2))


def test_truncated_and_deleted_files_are_detected(tmp_path: Path):
    write(tmp_path, 1, 2)
    for path in all_files(tmp_path / "2"):
        content = path.read_bytes()
        for size in {0, 1, len(content) // 2, len(content) - 1, None}:
            path.unlink() if size is None else path.write_bytes(content[:size])
            found, warnings = read(tmp_path)
            assert (found.step, len(warnings)) == (1, 1), (path, size)
            assert path.name in warnings[0]
        path.write_bytes(content + b"\n")
        assert read(tmp_path)[0].step == 1
        path.write_bytes(content)
    assert read(tmp_path)[0].step == 2


def test_the_damaged_leaf_is_named(tmp_path: Path):
    write(tmp_path, 1)
    path = tmp_path / "1" / "state.safetensors"
    content = path.read_bytes()
    values = np.asarray(make_state(1).params["Dense_0"]["kernel"]).tobytes()
    place = content.index(values)
    assert content.count(values) == 1
    flip_bit(path, 8 * place + 13)
    warnings: list[str] = []
    with Checkpoints(tmp_path, warn=warnings.append) as checkpoints:
        with pytest.raises(UserError, match="only damaged"):
            checkpoints.restore_latest(make_state())
    assert warnings[0].endswith(", in leaf .params['Dense_0']['kernel']")


def rename(path: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(path.parent / "2", path)


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def flip_in(name: str) -> Any:
    return lambda path: flip_bit(path / name, 801)


FLIPS = [flip_in(name) for name in ("SHA256SUMS", "checkpoint.json", "state.safetensors")]


@pytest.mark.parametrize("damage", [rename, empty, *FLIPS])
def test_damaged_checkpoint_is_skipped(tmp_path: Path, damage: Any, capfd: Any):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, make_state(2), {"note": "two"})
        checkpoints.save(3, make_state(3), {"note": "three"})
    damage(tmp_path / "3")
    found, warnings = read(tmp_path)
    assert (found.step, found.metadata) == (2, {"note": "two"})
    assert_identical(found.state, make_state(2))
    assert len(warnings) == 1
    assert "\n" not in warnings[0]
    assert capfd.readouterr() == ("", "")
    # The run continues from step 2 and replaces the damaged checkpoint of step 3.
    write(tmp_path, 3)
    assert_identical(read(tmp_path)[0].state, make_state(3))


def test_only_damaged_checkpoints_is_an_error(tmp_path: Path, capfd: Any):
    write(tmp_path, 1, 2)
    for step in "12":
        (tmp_path / step / "checkpoint.json").unlink()
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="--overwrite"):
        checkpoints.restore_latest(make_state())
    assert len(capfd.readouterr().err.splitlines()) == 2  # the default is to print there


def test_digests_are_those_of_sha256sum(tmp_path: Path):
    write(tmp_path, 1)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    subprocess.run(command, cwd=tmp_path / "1", check=True, capture_output=True)


def test_arrays_are_readable_by_safetensors(tmp_path: Path):
    write(tmp_path, 1)
    with safetensors.safe_open(tmp_path / "1" / "state.safetensors", "numpy") as file:
        kernel = file.get_tensor(".params['Dense_0']['kernel']")
    np.testing.assert_array_equal(kernel, make_state(1).params["Dense_0"]["kernel"])


@pytest.mark.parametrize(
    ("metric", "best"), [("test/loss", 2), ("test/elbo", 4), ("elbo", 4), (None, 7)]
)
def test_the_best_is_kept_beside_the_newest(tmp_path: Path, metric: str | None, best: int):
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: 9.0, 5: np.nan, 6: 3.0, 7: 2.0}
    with Checkpoints(tmp_path, keep=1, keep_best=metric) as checkpoints:
        for step, loss in losses.items():
            metadata = {"test/loss": loss, "test/elbo": loss, "elbo": loss, "note": "text"}
            checkpoints.save(step, make_state(step), metadata)
        checkpoints.wait()
        assert checkpoints.steps() == sorted({best, 7})
        if metric is not None:
            found = checkpoints.restore_best(make_state())
            assert found is not None
            assert found.step == best
            assert_identical(found.state, make_state(best))  # with its own optimizer state
        newest = checkpoints.restore_latest(make_state())
        assert newest is not None
        assert newest.step == 7


def test_the_best_survives_restarts_and_damage(tmp_path: Path):
    for step, loss in enumerate([5.0, 1.0, 2.0, 3.0], start=1):  # each a process of its own
        with Checkpoints(tmp_path, keep=2, keep_best="loss") as checkpoints:
            checkpoints.save(step, make_state(step), {"loss": loss})
    warnings: list[str] = []
    with Checkpoints(tmp_path, warn=warnings.append, keep_best="loss") as checkpoints:
        assert checkpoints.steps() == [2, 3, 4]
        flip_bit(tmp_path / "2" / "state.safetensors", 5000)
        found = checkpoints.restore_best(make_state())
    assert found is not None
    assert found.step == 3
    assert len(warnings) == 1


def test_no_metric_is_no_best(tmp_path: Path):
    with Checkpoints(tmp_path, keep=1, keep_best="loss") as checkpoints:
        checkpoints.save(1, make_state(1), {"note": 1})
        checkpoints.save(2, make_state(2))
        assert checkpoints.restore_best(make_state()) is None
        assert checkpoints.steps() == [2]


def test_a_save_of_the_same_step_that_is_killed_loses_nothing(tmp_path):
    state = {"x": jnp.arange(3.0)}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(4, state, {})
    # Between the two renames of the next save of step 4 the process is killed.
    (tmp_path / "4").rename(tmp_path / ".4.replaced.tmp")
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        found = checkpoints.restore_latest(state)
        assert found is not None
        assert found.step == 4
        checkpoints.save(4, {"x": jnp.ones(3)}, {})
        checkpoints.wait()
        found = checkpoints.restore_latest(state)
        assert found is not None
        np.testing.assert_array_equal(found.state["x"], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["4"]


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path):
    write(tmp_path, 1)
    for name in (".7.1234.tmp", ".2.removed.tmp"):
        shutil.copytree(tmp_path / "1", tmp_path / name)
    (tmp_path / "notes.txt").write_text("mine")
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [1]
    assert len(list(tmp_path.iterdir())) == 4
    assert read(tmp_path)[0].step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "notes.txt"]


def test_reading_only_makes_nothing(tmp_path: Path):
    with Checkpoints(tmp_path / "none", read_only=True) as checkpoints:
        assert checkpoints.restore_latest(make_state()) is None
    assert list(tmp_path.iterdir()) == []


def test_earlier_formats_are_refused_in_one_line(tmp_path: Path):
    (tmp_path / "3" / "state").mkdir(parents=True)
    (tmp_path / "3" / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(UserError, match=r"another version of jaxgen.*--overwrite") as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


KILLED = """
import sys, jax.numpy as jnp
from jaxgen.runs.checkpoints import Checkpoints
try:
    with Checkpoints(sys.argv[1]) as checkpoints:
        for step in range(1, 1000):
            checkpoints.save(step, {"weights": jnp.full((1000, 1000), step)}, {"of": step})
            print(step, flush=True)
except KeyboardInterrupt:  # as a script does
    pass
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, *slow(i / 400 for i in range(1, 18))])
def test_a_killed_process_loses_one_save_at_most(tmp_path: Path, delay: float):
    stopped_while_saving(tmp_path, signal.SIGKILL, delay)


def test_an_interrupt_loses_nothing(tmp_path: Path):
    stopped_while_saving(tmp_path, signal.SIGINT, 0.03)


def stopped_while_saving(tmp_path: Path, sent: signal.Signals, delay: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    time.sleep(delay)  # into the writing of some checkpoint
    process.send_signal(sent)
    rest, errors = process.communicate(timeout=60)
    started = 3 + len(rest.splitlines())
    found, warnings = read(tmp_path, {"weights": jnp.zeros((1000, 1000), jnp.int32)})
    assert found.step >= started - (sent == signal.SIGKILL)
    assert found.metadata == {"of": found.step}
    np.testing.assert_array_equal(found.state["weights"], found.step)
    assert warnings == []
    assert errors == ""
    assert all(path.name.isdigit() for path in tmp_path.iterdir())


OTHER_STRUCTURES = {
    "shape": (lambda: make_state(width=5), r"params\['Dense_0'\]\['kernel'\]", "[3, 5]", "[3, 4]"),
    "dtype": (lambda: make_state()._replace(step=jnp.zeros(())), "step", "float32[]", "int32[]"),
    "missing": (
        lambda: make_state()._replace(batch_stats=0.0),
        "batch_stats",
        "float32[]",
        "absent",
    ),
    "more": (lambda: make_state()._replace(opt_state=()), "opt_state", "absent", "int32[]"),
}


@pytest.mark.parametrize("case", OTHER_STRUCTURES)
def test_other_structure_is_an_error(tmp_path: Path, case: str):
    make_template, leaf, expected, came = OTHER_STRUCTURES[case]
    write(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError) as raised:
        checkpoints.restore_latest(jax.tree.map(jnp.asarray, make_template()))
    assert re.fullmatch(
        rf"checkpoint {re.escape(str(tmp_path / '1'))} is of another model: state\.{leaf}.*"
        rf" was expected to be \w*{re.escape(expected)} and is \w*{re.escape(came)}; use .*",
        str(raised.value),
    )


def test_unwritable_directory_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write checkpoints to .*file") as raised:
        Checkpoints(tmp_path / "file" / "checkpoints")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files")
def test_directory_that_takes_no_files_is_an_error():
    with pytest.raises(UserError, match="cannot write checkpoints to /proc/self"):
        Checkpoints("/proc/self")


def test_failed_write_is_an_error_and_keeps_the_one_before(tmp_path: Path):
    resource = pytest.importorskip("resource")
    write(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    state = {"weights": jax.random.normal(jax.random.key(0), (300, 300))}
    checkpoints = Checkpoints(tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        checkpoints.save(2, state)
        with pytest.raises(UserError, match="cannot write checkpoints") as raised:
            checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert read(tmp_path)[0].step == 1


LOST_FOLDER = """
import pathlib, shutil, sys, jax.numpy as jnp
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.errors import UserError
directory = pathlib.Path(sys.argv[1])
try:
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(1, {"weights": jnp.ones(3)})
        checkpoints.wait()
        shutil.rmtree(directory)
        directory.write_text("")
        checkpoints.save(2, {"weights": jnp.ones(3)})
except UserError as error:
    print(error)
"""


def test_lost_folder_ends_the_run_with_one_line(tmp_path: Path):
    command = [sys.executable, "-c", LOST_FOLDER, str(tmp_path / "checkpoints")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("cannot write checkpoints to ")
    assert len(done.stdout.splitlines()) == 1
    assert (done.stderr, done.returncode) == ("", 0)
