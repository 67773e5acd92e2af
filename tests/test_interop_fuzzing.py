"""Files and state dicts made at random: a UserError in one line, or the right result."""

import json
import resource
import struct

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from states import state_of, weights

from jaxgen import interop
from jaxgen.errors import UserError
from jaxgen.runs import _checkpoint_files as files
from jaxgen.runs.checkpoints import Checkpoints

fuzz = hypothesis.settings(
    max_examples=100,
    deadline=20_000,
    database=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def refused(function, *arguments):
    """Whether a call ends in a UserError, which has to be one line."""
    said = None
    try:
        function(*arguments)
    except UserError as error:
        said = str(error)
    assert "\n" not in (said or "")
    return said is not None


def framed(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.fixture(scope="module")
def file_of_weights() -> bytes:
    return safetensors.numpy.save(interop.to_torch("vae_mnist", state_of("vae_mnist")))


@st.composite
def damage(draw, content: bytes) -> bytes:
    """The content with bytes changed, cut off, inserted or repeated."""
    place = draw(st.integers(0, len(content)))
    kind = draw(st.sampled_from(["change", "cut", "insert", "lose", "header"]))
    if kind == "header":  # most of a file is weights, of which every bit pattern is valid
        place = draw(st.integers(0, 200))
    some = draw(st.binary(min_size=1, max_size=9))
    rest = {"cut": b"", "insert": content[place:], "lose": some + content[place + 20 :]}
    return content[:place] + rest.get(kind, some + content[place + len(some) :])


@fuzz
@hypothesis.given(data=st.data())
def test_damaged_safetensors(data, tmp_path, file_of_weights):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data.draw(damage(file_of_weights)))
    if not refused(interop.read, path):
        assert all(isinstance(array, np.ndarray) for array in interop.read(path).values())
    assert refused(interop.load, path)


@fuzz
@hypothesis.given(header=JSON, data=st.binary(max_size=20))
def test_safetensors_with_any_header(header, data, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(framed(json.dumps(header).encode(), data))
    refused(interop.read, path)
    assert refused(interop.load, path)


HYPERPARAMETERS = st.dictionaries(
    st.sampled_from(["latent_size", "image_shape", "hidden_sizes", "beta", "optimizer"]), JSON
)


@fuzz
@hypothesis.given(
    metadata=st.fixed_dictionaries(
        {},
        optional={
            "system": st.sampled_from(["vae_mnist", "", "none"]) | st.text(max_size=5),
            "hyperparameters": (HYPERPARAMETERS | JSON).map(json.dumps) | st.text(max_size=5),
        },
    )
)
def test_samplers_with_any_metadata(metadata, tmp_path):
    path = tmp_path / "weights.safetensors"
    arrays = {"params/x": np.zeros(2, np.float32)}
    metadata["format"] = "jaxgen sampler 2"
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    assert refused(interop.load, path)


ABSURD = {
    "header longer than the file": struct.pack("<Q", 2**62) + b"{",
    "header of 90 MB in 20 bytes": struct.pack("<Q", 90_000_000) + b'{"a":1}',
    "array larger than the file": framed(
        json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    ),
    "sizes that overflow": framed(
        json.dumps({"a": {"dtype": "F32", "shape": [2**62, 16], "data_offsets": [0, 4]}}).encode(),
        b"1234",
    ),
    "nested": framed(b'{"a":' + b"[" * 100_000),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_headers_are_refused_before_memory_is_taken(case, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(ABSURD[case])
    assert refused(interop.read, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(interop.read, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_bfloat16_is_read(tmp_path):
    path = tmp_path / "weights.safetensors"
    array = np.asarray([[1.5, -0.0]], jnp.bfloat16)
    path.write_bytes(safetensors.numpy.save({"a": array, "b": np.zeros((0, 3), np.float16)}))
    found = interop.read(path)
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == jnp.bfloat16
    assert found["b"].shape == (0, 3)


VALUES = (
    st.none()
    | st.integers()
    | st.text(max_size=3)
    | st.just([1, 2])
    | st.sampled_from([(16, 64), (4, 16), (16,), (4,), (), (0,)]).map(np.zeros)
)


@fuzz
@hypothesis.given(
    prefix=st.sampled_from(["", "module.", "model.net."]),
    changes=st.dictionaries(
        st.sampled_from(["fc1.weight", "fc2.bias", "fc21.weight", "fc3", "module.fc1.weight", "x"]),
        VALUES,
        max_size=4,
    ),
    losses=st.sets(st.sampled_from(["fc1.weight", "fc2.bias", "fc5.bias"]), max_size=2),
    place=st.sampled_from([None, "state_dict", 0]),
    beside=st.dictionaries(st.sampled_from(["epoch", "ema", "fc1", 3]), VALUES, max_size=2),
)
def test_state_dicts_of_any_content(prefix, changes, losses, place, beside):
    state = state_of("vae_mnist")
    plain = {k: v for k, v in interop.to_torch("vae_mnist", state).items() if k not in losses}
    given = {prefix + key: value for key, value in (plain | changes).items()}
    given = given | beside if place is None else {place: given, **beside}
    if refused(interop.load_torch, "vae_mnist", state, given):
        assert changes or losses or beside
        return
    loaded = interop.load_torch("vae_mnist", state, given)
    if not {key for key in changes if key in plain}:
        jax.tree.map(np.testing.assert_array_equal, dict(weights(loaded)), dict(weights(state)))


@fuzz
@hypothesis.given(data=st.data())
def test_damaged_checkpoints(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    state = {"weights": jnp.arange(6.0), "step": jnp.int32(3)}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, state, {"note": "x"})
    name = data.draw(st.sampled_from([files.STATE, files.RECORD, files.SUMS]))
    content = (folder / "3" / name).read_bytes()
    changed = data.draw(damage(content) | st.binary(max_size=30))
    (folder / "3" / name).write_bytes(changed)
    with Checkpoints(folder, warn=lambda line: None, keep_best="note") as checkpoints:
        assert refused(checkpoints.restore_latest, state) == (changed != content)
        checkpoints.restore_best(state) if changed == content else None


@fuzz
@hypothesis.given(record=JSON, leaves=JSON, arrays=st.binary(max_size=30))
def test_checkpoints_with_consistent_digests_and_any_content(record, leaves, arrays, tmp_path):
    """As someone could make on purpose."""
    folder = tmp_path / "3"
    folder.mkdir(exist_ok=True)
    if isinstance(record, dict):
        record |= {"format": files.FORMAT, "step": 3, "leaves": leaves, "metadata": {}}
    contents = {files.STATE: arrays, files.RECORD: json.dumps(record).encode()}
    contents[files.SUMS] = files._sums(contents)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with Checkpoints(tmp_path, warn=lambda line: None, keep_best="x") as checkpoints:
        assert refused(checkpoints.restore_latest, {"step": jnp.int32(3)})
        assert checkpoints.restore_best({"step": jnp.int32(3)}) is None
