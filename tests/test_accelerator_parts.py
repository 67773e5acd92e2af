"""benchmarks/accelerator.py: decisions by platform, the forms it compares, and its report."""

import importlib.metadata
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from convolution_references import agree

sys.path.append(str(Path(__file__).parents[1]))
import jaxgen
from benchmarks.accelerating import agreement, convolution_forms, packing, race, report
from benchmarks.accelerating.target import PLATFORMS, Target
from benchmarks.layers import Row
from benchmarks.racing.course import COURSES

ROOT = Path(__file__).parents[1]
H100 = Target("cuda", "NVIDIA H100 80GB HBM3", 16, False)
TPU = Target("tpu", "TPU v5e", 16, False)
CPU = Target("cpu", "a processor", 2, True)


def test_decisions_for_a_gpu(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    choice = H100.choice(COURSES["vae_flowers"], "tf32")
    assert (choice.device, choice.precision, choice.compile_mode) == (
        "cuda",
        "tf32",
        "reduce-overhead",
    )
    assert choice.channels_last
    assert choice.optimizer_options == {"fused": True}
    assert H100.precisions == ("float32", "bf16", "tf32")
    assert H100.matmul_precision() == "highest"
    assert H100.sides[:2] == ("torch_eager", "torch_compile")
    environment = H100.environment(H100.command_buffers["with WHILE"])
    assert environment["JAX_PLATFORMS"] == "cuda,cpu"  # the CPU is the reference
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["XLA_FLAGS"] == "--xla_a=1 --xla_gpu_enable_command_buffer=+WHILE"
    assert H100.at_once == 4


def test_decisions_for_other_platforms():
    assert TPU.sides == ("jaxgen_step", "jaxgen_epoch")
    assert TPU.environment()["JAX_PLATFORMS"] == "tpu,cpu"
    assert TPU.matmul_precision() == "highest"
    for target in (TPU, CPU):
        assert target.precisions == ("float32",)
        assert set(target.command_buffers) == {"default"}
        assert target.choice(COURSES["vae_mnist"], "float32").compile_mode is None
    assert CPU.matmul_precision() is None
    assert CPU.at_once == 1


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_race_has_a_choice_for_every_precision(platform):
    target = Target(platform, "a device", 16, False)
    for course in COURSES.values():
        for precision in target.precisions:
            choice = target.choice(course, precision)
            assert choice.precision == precision


def test_cuda_graphs_are_left_out_where_they_fail(monkeypatch, capsys):
    course = COURSES["dcgan_mnist"]
    library = race.Library.__new__(race.Library)
    library.course, tried = course, []

    def opened(side, choice):
        del side
        tried.append(choice.compile_mode)
        if choice.compile_mode == "reduce-overhead":
            raise RuntimeError("overwritten by a subsequent run")
        return {"compile_mode": choice.compile_mode}

    monkeypatch.setattr(library, "_opened", opened)
    found = library.open("torch_compile", H100.choice(course, "float32")._asdict())
    assert tried == ["reduce-overhead", None]
    assert found == {
        "compile_mode": None,
        "without_cuda_graphs": "overwritten by a subsequent run",
    }
    with pytest.raises(RuntimeError):
        library.open("torch_eager", H100.choice(course, "float32")._asdict())


def test_differences_of_metrics():
    ours, theirs = {"loss": 100.1, "kl": 1.0}, {"loss": 100.0, "kl": 1.5}
    assert agreement.relative(ours, theirs) == pytest.approx(0.5 / 100)
    assert agreement.relative(ours | {"kl": float("nan")}, theirs) == 1.0


def test_a_difference_is_tolerated_or_explained_by_the_last_bit():
    assert agreement.within([1e-7, 1e-3, 1e-3], [0.0, 0.0, 0.0])
    assert not agreement.within([1e-7, 1e-3, 1e-2], [0.0, 0.0, 1e-3])
    assert agreement.within([1e-7, 1e-3, 1e-2], [0.0, 0.0, 1e-2])
    weights = np.linspace(-1, 1, 1000, dtype=np.float32)
    changed = agreement.last_bit_changed(0, weights)
    assert changed.dtype == np.float32
    assert 400 < np.sum(changed != weights) < 600
    steps = (changed - weights) / np.spacing(weights)
    assert set(np.abs(steps)) <= {0.0, 0.5, 1.0}  # half a spacing where the exponent changes


SMALL = [Row(True, 5, 3, 4, 4, 2, 1), Row(True, 4, 3, 2, 5, 1, 0), Row(False, 9, 3, 4, 3, 2, 1)]


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
@pytest.mark.parametrize("product", convolution_forms.PRODUCTS)
def test_forms_compute_the_same(row, product):
    g, (cx, cy) = convolution_forms.geometry_of(row)
    rng = np.random.default_rng(0)
    shapes = {"x": (2, *g.image, cx), "y": (2, *g.grid, cy), "w": (*g.kernel, cx, cy)}
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    factors = {"convolve": "xw", "transpose": "yw", "correlate": "xy"}[product]
    found = {
        form: jax.jit(
            convolution_forms.function_of(
                product, form, g, *(jax.typeof(jax.numpy.asarray(arrays[k])) for k in "xw")
            )
        )(*(arrays[name] for name in factors))
        for form in convolution_forms.FORMS
    }
    for value in found.values():
        # float32: some dozen terms, added in another order
        agree(value, found["xla"], 1e-6)


def test_calls_of_the_vendor_are_found():
    class Compiled:
        def as_text(self):
            return (
                '  %a = custom-call(%b), custom_call_target="__cudnn$convBackwardFilter"\n'
                '  %c = custom-call(%d), custom_call_target="__cublas$gemm"\n'
            )

    assert convolution_forms.texts((Compiled(), ()), "") == {
        "calls": ["__cublas$gemm", "__cudnn$convBackwardFilter"],
        "backward_filter": True,
    }
    assert convolution_forms.texts(None, "Error: x") == {"error": "Error: x"}


def test_the_packed_wheels_are_those_that_are_missing():
    wheels = packing.wanted(ROOT / "pyproject.toml")
    names = {wheel.split(">")[0] for wheel in wheels}
    assert {"docstring-parser", "tyro", "tensorboardX", "safetensors", "typeguard"} <= names
    assert not {"jax", "numpy", "flax", "optax"} & names
    words = packing.command(Path("wheels"), ROOT / "pyproject.toml")
    assert "--no-deps" in words
    assert words[words.index("--python-version") + 1] == "3.12"


def test_jaxgen_has_a_version_where_it_is_not_installed(tmp_path):
    packing.describe(tmp_path, ROOT / "pyproject.toml")
    (found,) = importlib.metadata.distributions(name="jaxgen", path=[str(tmp_path)])
    assert found.version == jaxgen.__version__


def result():
    """An invented record: one part complete, one with a failed side, one skipped."""
    seconds = {
        "torch_eager": [0.4, 0.3, 0.5],
        "torch_compile": [0.2, 0.3, 0.2],
        "jaxgen_epoch": [0.1, 0.1, 0.1],
    }
    entry = {
        "steps": 100,
        "sides": {side: {"seconds": values} for side, values in seconds.items()},
        "failures": {"jaxgen_step": "no answer within 2 s"},
        "disagreement": [],
    }
    alike = {"agrees": True, "differences": [1e-7, 2e-6, 1e-5], "rounding": [1e-7, 1e-6, 1e-6]}
    unstable = {"agrees": True, "differences": [1e-7, 1e-3, 1e-2], "rounding": [1e-7, 4e-3, 2e-2]}
    return {
        "machine": {
            "accelerator": "NVIDIA H100 80GB HBM3",
            "threads": 16,
            "date": "2026-11-26",
            "versions": {"jax": "0.11.2", "torch": "2.11.0"},
        },
        "parts": {
            "agreement": {
                "state": "done",
                "rows": {
                    "vae_mnist": alike,
                    "dcgan_mnist": unstable,
                    "wgan_mnist": {"error": "ValueError: x"},
                },
            },
            "race": {"state": "done", "rows": {"float32": {"systems": {"vae_mnist": entry}}}},
            "loops": {"state": "skipped", "rows": {}, "error": "1 s were left, 35 expected"},
        },
    }


def test_the_section():
    text = report.section(result())
    assert text.startswith("## On a GPU\n\nNVIDIA H100 80GB HBM3, 16 processors, jax 0.11.2")
    assert "2 of 3 systems agree with the CPU after three steps (largest difference 1e-05" in text
    assert "dcgan_mnist differs by 1e-02, and by 2e-02 between two runs on the CPU" in text
    assert "not: wgan_mnist (ValueError: x)" in text
    assert (
        "| vae_mnist | **4.00** (3.00 to 5.00) | **2.00** (2.00 to 3.00) |  | "
        "**1.00** (1.00 to 1.00) | **2.00** (2.00 to 3.00) |" in text
    )
    assert "Not measured, no answer within 2 s: vae_mnist (jaxgen, step)." in text
    assert "The part `loops` was skipped: 1 s were left, 35 expected." in text
