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

from jaxgen.errors import UserError
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
        # Large enough for a file of its own: orbax guards what it keeps beside its index, not this.
        "large": jnp.asarray(draw.normal(size=(200, 200)), jnp.float32),
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
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def write(directory: Path, *epochs: int, max_to_keep: int = 2) -> None:
    with Checkpoints(directory, max_to_keep=max_to_keep) as checkpoints:
        for epoch in epochs:
            checkpoints.save(epoch, make_state(epoch), {"epoch": epoch})


def read(directory: Path, template: Any = None) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    with Checkpoints(directory, warn=warnings.append) as checkpoints:
        found = checkpoints.restore_latest(make_state() if template is None else template)
    return found, warnings


def flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def data_files(checkpoint: Path) -> list[Path]:
    """The files of the array itself, largest first."""
    files = [path for path in (checkpoint / "state").rglob("d/*") if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_size, reverse=True)


@pytest.mark.parametrize("abstract", [False, True])
def test_round_trip_is_exact(tmp_path: Path, abstract: bool):
    metadata = {"loss": 104.8, "best": float("inf"), "names": ["a", "b"], "seeds": {10: 1, 9: 2}}
    with Checkpoints(tmp_path / "new" / "checkpoints") as checkpoints:
        assert checkpoints.restore_latest(make_state()) is None
        checkpoints.save(3, make_state(3), metadata)
    template = jax.eval_shape(make_state) if abstract else make_state()
    found, warnings = read(tmp_path / "new" / "checkpoints", template)
    assert found.epoch == 3
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
    with Checkpoints(tmp_path, max_to_keep=5) as checkpoints:
        for epoch in range(5):
            checkpoints.save(epoch, state)
            for _ in range(3):
                state = advance(state)
        found = checkpoints.restore_latest(state)
        assert found is not None
        assert found.epoch == 4
        np.testing.assert_array_equal(found.state["weights"], 12.0)
        np.testing.assert_array_equal(advance(found.state)["weights"], 13.0)


def test_only_the_newest_are_kept(tmp_path: Path):
    write(tmp_path, 1, 2, 3, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_an_earlier_epoch_replaces_later_ones(tmp_path: Path):
    write(tmp_path, 4, 5)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, make_state(50))
    assert_identical(read(tmp_path)[0].state, make_state(50))
    write(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def flip_data(path: Path) -> None:
    flip_bits(data_files(path)[0])


def lose_data(path: Path) -> None:
    shutil.rmtree(path / "state" / "d")
    shutil.rmtree(path / "state" / "ocdbt.process_0")


def lose_state(path: Path) -> None:
    shutil.rmtree(path / "state")


def truncate_record(path: Path) -> None:
    record = path / "record" / "metadata"
    record.write_bytes(record.read_bytes()[:-9])


def change_record(path: Path) -> None:
    record = path / "record" / "metadata"
    record.write_text(record.read_text().replace('"note": "three"', '"note": "thref"'))


def rename(path: Path) -> None:
    shutil.copytree(path.parent / "2", path.parent / "copy")
    shutil.rmtree(path)
    (path.parent / "copy").rename(path)


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    "damage", [flip_data, lose_data, lose_state, truncate_record, change_record, rename, empty]
)
def test_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: Any, capfd: Any):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, make_state(2), {"note": "two"})
        checkpoints.save(3, make_state(3), {"note": "three"})
    damage(tmp_path / "3")
    found, warnings = read(tmp_path)
    assert (found.epoch, found.metadata) == (2, {"note": "two"})
    assert_identical(found.state, make_state(2))
    assert len(warnings) == 1
    assert "\n" not in warnings[0]
    assert str(tmp_path / "3") in warnings[0]
    assert capfd.readouterr() == ("", "")
    # The run goes on from epoch 2 and makes a new epoch 3 in the place of the damaged one.
    write(tmp_path, 3)
    assert_identical(read(tmp_path)[0].state, make_state(3))


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path):
    """A bit anywhere in the stored state: either it is noticed or the state is unharmed."""
    write(tmp_path, 1, 2)
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file()]
    noticed = 0
    for path in files:
        content = path.read_bytes()
        for place in {len(content) // 3, 2 * len(content) // 3} if content else set():
            damaged = bytearray(content)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            found, warnings = read(tmp_path)
            assert_identical(found.state, make_state(found.epoch))
            assert found.metadata == {"epoch": found.epoch}
            assert len(warnings) == (found.epoch == 1)
            noticed += found.epoch == 1
        path.write_bytes(content)
    assert noticed > 0
    assert read(tmp_path)[0].epoch == 2


def test_only_damaged_checkpoints_is_an_error(tmp_path: Path, capfd: Any):
    write(tmp_path, 1, 2)
    for epoch in "12":
        flip_data(tmp_path / epoch)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="--overwrite"):
        checkpoints.restore_latest(make_state())
    assert len(capfd.readouterr().err.splitlines()) == 2  # the default is to warn there


def test_what_an_interrupted_save_left_is_ignored(tmp_path: Path):
    write(tmp_path, 1)
    leftovers = [tmp_path / f"{epoch}.orbax-checkpoint-tmp" for epoch in (2, 7)]
    for leftover in leftovers:
        shutil.copytree(tmp_path / "1", leftover)
    (tmp_path / "notes.txt").write_text("mine")
    found, warnings = read(tmp_path)
    assert found.epoch == 1
    assert warnings == []
    write(tmp_path, 2)
    assert read(tmp_path)[0].epoch == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "notes.txt"]


KILLED = """
import sys, jax.numpy as jnp
from jaxgen.runs.checkpoints import Checkpoints
try:
    with Checkpoints(sys.argv[1]) as checkpoints:
        for epoch in range(1, 1000):
            checkpoints.save(epoch, {"weights": jnp.full((1000, 1000), epoch)}, {"epoch": epoch})
            print(epoch, flush=True)
except KeyboardInterrupt:  # as a script does
    pass
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_run_loses_one_epoch_at_most(tmp_path: Path, sent: signal.Signals):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    time.sleep(0.03)  # into the writing of some epoch
    process.send_signal(sent)
    rest, errors = process.communicate(timeout=60)
    started = 3 + len(rest.splitlines())
    found, warnings = read(tmp_path, {"weights": jnp.zeros((1000, 1000), jnp.int32)})
    assert found.epoch >= started - (sent == signal.SIGKILL)
    assert found.metadata == {"epoch": found.epoch}
    np.testing.assert_array_equal(found.state["weights"], found.epoch)
    assert warnings == []
    assert errors == ""


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
    assert read(tmp_path)[0].epoch == 1


LOST_FOLDER = """
import pathlib, shutil, sys, jax.numpy as jnp
from jaxgen.runs.checkpoints import Checkpoints
from jaxgen.errors import UserError
directory = pathlib.Path(sys.argv[1])
try:
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(1, {"weights": jnp.ones(3)})
        checkpoints._manager.wait_until_finished()
        shutil.rmtree(directory)
        directory.write_text("")
        checkpoints.save(2, {"weights": jnp.ones(3)})
except UserError as error:
    print(error)
"""


def test_lost_folder_ends_the_run_with_one_line(tmp_path: Path):
    """The process ends, too: orbax's threads can keep it waiting for a folder for 20 minutes."""
    command = [sys.executable, "-c", LOST_FOLDER, str(tmp_path / "checkpoints")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("cannot write checkpoints to ")
    assert len(done.stdout.splitlines()) == 1
    assert (done.stderr, done.returncode) == ("", 0)


def test_import_leaves_orbax_alone():
    code = "import sys, jaxgen.runs.checkpoints; assert 'orbax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
