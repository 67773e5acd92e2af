"""The race's choices, agreement and tables, without a GPU and without a clock."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
from benchmarks import measuring  # noqa: E402
from benchmarks.race import keep, parse  # noqa: E402
from benchmarks.racing import devices, publishing, report, turns  # noqa: E402
from benchmarks.racing.agreement import disagreement  # noqa: E402
from benchmarks.racing.course import COURSES, Course  # noqa: E402
from jaxgen import systems  # noqa: E402

HAS_NUMPYRO = importlib.util.find_spec("numpyro") is not None
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


def test_gpu_gets_cuda_graphs():
    choice = devices.choose(cuda=True)
    assert (choice.device, choice.compile_mode) == ("cuda", "reduce-overhead")
    assert choice.optimizer_options == {"fused": True}
    assert devices.choose(cuda=True, adam=False).optimizer_options == {
        "foreach": True,
        "capturable": True,
    }
    assert devices.environment(choice)["JAX_PLATFORMS"] == "cuda"


def test_cpu_gets_the_default_mode():
    choice = devices.choose(cuda=False)
    assert (choice.device, choice.compile_mode) == ("cpu", None)
    assert devices.choose(cuda=False, adam=False).optimizer_options == {"foreach": True}
    assert devices.environment(choice)["JAX_PLATFORMS"] == "cpu"


def test_both_as_they_come():
    fastest = devices.choose(cuda=False, channels_last=True)
    untuned = devices.untuned(fastest)
    assert not untuned.optimizer_options
    assert not untuned.channels_last
    assert untuned.device == fastest.device
    assert untuned.precision == fastest.precision


def test_defaults_are_raced_in_float32(monkeypatch, capsys):
    words = ["race.py", "--torch-defaults", "--precision", "tf32"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        parse()
    assert "--torch-defaults: expected --precision float32, got tf32" in capsys.readouterr().err


@pytest.mark.parametrize(("quick", "short"), [(1.0, True), (4.0, False)])
def test_short_stretches_follow_one_that_does_not_count(quick, short, monkeypatch):
    stretches = 0  # since the last pause; the first takes `worker` seconds, the second half of it

    def pause(_):
        nonlocal stretches
        stretches = 0

    def ask(worker, _):
        nonlocal stretches
        stretches += 1
        return worker / stretches

    monkeypatch.setattr(turns, "ask", ask)
    monkeypatch.setattr(turns.time, "sleep", pause)
    workers = {"slow": 6.0, "quick": quick}
    extra, found = turns.warm_up(workers)
    assert extra == {"slow": 3.0, "quick": quick / 2}
    assert found is short
    # One quick side is enough: both sides are treated alike.
    counted = {side: [worker / (2 if short else 1)] * 3 for side, worker in workers.items()}
    assert turns.in_turns(workers, 3, found) == counted


@pytest.mark.parametrize(
    ("precision", "torch_setting", "jax_setting"),
    [
        ("float32", "highest", "highest"),
        ("tf32", "high", "tensorfloat32"),
        ("bf16", "highest", "bfloat16"),
    ],
)
def test_both_sides_get_one_precision(precision, torch_setting, jax_setting):
    assert devices.choose(cuda=True, precision=precision).precision == precision
    assert devices.torch_matmul_precision(precision) == torch_setting
    on_gpu = devices.choose(cuda=True, precision=precision)
    assert devices.jax_matmul_precision(on_gpu) == jax_setting
    assert devices.jax_matmul_precision(devices.choose(cuda=False)) is None


def test_a_cpu_has_no_tf32():
    assert devices.choose(cuda=False, precision="bf16").precision == "bf16"
    with pytest.raises(SystemExit, match="expected float32 or bf16 on a CPU, got tf32"):
        devices.choose(cuda=False, precision="tf32")
    with pytest.raises(SystemExit, match="got 'half'"):
        devices.choose(cuda=True, precision="half")


@needs_torch
def test_every_choice_is_one_that_pytorch_takes():
    import torch

    modes = {None, *torch._inductor.list_mode_options()}
    weight = torch.nn.Parameter(torch.ones(3))
    for cuda in (False, True):
        assert devices.choose(cuda).compile_mode in modes
        torch.optim.Adam([weight], **devices.choose(cuda).optimizer_options)
        torch.optim.RMSprop([weight], **devices.choose(cuda, adam=False).optimizer_options)


def test_courses_have_the_published_batches():
    import inspect

    for course in COURSES.values():
        arguments = inspect.signature(getattr(systems, course.name)).parameters
        assert arguments["batch_size"].default == course.batch_size
        if course.name.startswith("wgan"):
            assert arguments["num_critic_steps"].default == course.num_critic_steps
    assert COURSES["vae_mnist"].epoch_steps(60_000) == 468
    assert COURSES["wgan_mnist"].epoch_steps(60_000) == 187


def test_disagreement():
    ours = [{"loss": 100.0, "kl": 5.0}, {"loss": 99.0, "kl": 4.0}]
    assert disagreement(ours, [dict(terms) for terms in ours]) == []
    assert disagreement(ours, [{"loss": 100.001, "kl": 5.0}, {"loss": 99.1, "kl": 4.1}]) == []
    for wrong in ({"loss": 100.003, "kl": 5.0}, {"loss": 100.0, "kl": float("nan")}):
        assert len(disagreement(ours, [wrong, ours[1]])) == 1
    assert len(disagreement(ours, [ours[0], {"loss": 99.3, "kl": 4.0}])) == 1


def entry(steps=468):
    """An invented result: jaxgen twice as fast as the best of PyTorch."""
    seconds = {
        "torch_loader": [9.0, 8.0, 10.0],
        "torch_eager": [4.0, 3.0, 5.0],
        "torch_compile": [2.0, 3.0, 2.5],
        "jaxgen_step": [1.5, 1.5, 1.5],
        "jaxgen_epoch": [1.0, 1.5, 1.25],
    }
    sides = {
        side: {"seconds": times, "compile_seconds": 1.0, "peak_mib": 500.0, "last": {}}
        for side, times in seconds.items()
    }
    sides["jaxgen_epoch"]["to_held_out"] = {"seconds": 4.5, "epochs": 4, "loss": 109.0}
    sides["torch_eager"]["to_held_out"] = {"seconds": None, "epochs": 60, "loss": 111.0}
    return {
        "steps": steps,
        "epoch_steps": 468,
        "images_per_step": 128,
        "held_out": 110.0,
        "flops_per_step": 10**9,
        "peak_flops": {"torch_eager": 4e11, "jaxgen_epoch": 5e11},
        "sides": sides,
    }


def test_report():
    text = report.everything({"float32": {"systems": {"vae_mnist": entry()}}})
    assert "| vae_mnist | **9.00** (8.00 to 10.00) | **4.00**" in text
    assert "**2.00** (2.00 to 2.00) | **8.00** (5.33 to 9.00) |" in text
    # 468 steps of 128 images in 1.25 s; 468 Gflop in 1.25 s of 500 Gflop/s.
    assert "47,923 | 2.67 | 1.0 | 500 | 75% | 4.5 (110 nats, 4 epochs) |" in text
    assert "not in 60 epochs" in text
    assert "extrapolated" not in text


def test_report_has_a_table_of_other_libraries():
    raced = entry()
    assert "other JAX libraries" not in report.everything({"float32": {"systems": {"a": raced}}})
    raced["sides"]["numpyro"] = dict(raced["sides"]["jaxgen_step"], seconds=[2.0, 3.0, 2.5])
    text = report.everything({"float32": {"systems": {"a": raced}}})
    assert "| a | NumPyro, epoch | **2.50** (2.00 to 3.00) | **1.25** (1.00 to 1.50) |" in text
    assert "(1.00 to 1.50) | **2.00** (2.00 to 2.00) |" in text
    assert "| a | NumPyro, epoch | 23,962 |" in text


def test_report_says_what_is_extrapolated():
    text = report.everything({"float32": {"systems": {"vae_mnist": entry(steps=117)}}})
    assert "| vae_mnist † | **36.00** (32.00 to 40.00)" in text
    assert "† extrapolated: vae_mnist from 117 of 468 steps" in text


def test_precisions_are_never_mixed():
    text = report.everything(
        {"tf32": {"systems": {"b": entry()}}, "float32": {"systems": {"a": entry()}}}
    )
    first, second = text.index("float32, seconds per epoch"), text.index("tf32, seconds per epoch")
    assert "| b |" not in text[first:second]
    assert "| a |" not in text[second:]


def test_the_chart(tmp_path):
    result = {
        "float32": {"systems": {"vae_mnist": entry()}},
        "machine": {"accelerator": None, "processor": "a processor", "threads": 2},
    }
    report.draw(result, tmp_path / "race.png")
    assert (tmp_path / "race.png").stat().st_size > 1000


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results" / "race.json"
    measuring.write(path, {"a": 1})
    with pytest.raises(TypeError):
        measuring.write(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_keeping_an_entry_leaves_the_others(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("benchmarks.race.ROOT", tmp_path)
    path, machine = tmp_path / "race.json", {"processor": "a processor"}
    for part, name in (("float32", "a"), (report.UNTUNED, "a"), ("float32", "b")):
        keep(path, machine, (part, "systems", name), entry())
    keep(path, machine, ("float32", "systems", "a"), entry(steps=117))
    assert json.loads(path.read_text()) == {
        "machine": machine,
        "float32": {"systems": {"a": entry(steps=117), "b": entry()}},
        report.UNTUNED: {"systems": {"a": entry()}},
    }
    assert "kept in race.json" in capsys.readouterr().out


def test_all_that_is_kept_is_shown():
    for path in measuring.RESULTS.glob("race_*.json"):
        assert set(json.loads(path.read_text())) - {"machine"} <= set(report.PARTS)


@needs_torch
def test_pictures_are_what_the_images_are():
    from benchmarks.racing.torch_sides import Pictures

    rng = np.random.default_rng(0)
    for channels in (1, 3):
        images = rng.integers(0, 256, (2, 6, 5, channels)).astype(np.uint8)
        wanted = images[1].transpose(2, 0, 1).astype(np.float32) / 255
        np.testing.assert_array_equal(Pictures(images)[1].numpy(), wanted)


@needs_torch
@pytest.mark.parametrize("name", ["vae_mnist", "wgan_mnist"])
def test_the_sides_agree_and_run(name, tmp_path):
    """One step on each uncompiled side, on tiny batches of noise, through jaxgen's weights."""
    import jax

    from benchmarks.racing import jaxgen_sides, torch_sides
    from benchmarks.racing.preparing import save_weights

    course = COURSES[name]._replace(batch_size=8)
    images = np.random.default_rng(0).integers(0, 256, (80, 28, 28, 1)).astype(np.uint8)
    np.save(tmp_path / "train.npy", images)
    np.save(tmp_path / "test.npy", images[:50])
    state = jaxgen_sides.learner_of(course).init(jax.random.key(0))
    save_weights(course, state, 1, tmp_path)
    choice = devices.choose(cuda=False, adam=name != "wgan_mnist")
    side = torch_sides.Torch("torch_eager", course, choice, tmp_path, steps=2)
    leaves = jax.tree.leaves(state.params)
    assert side.facts() == {"parameters": sum(leaf.size for leaf in leaves)}
    ours = jaxgen_sides.losses(course, images[: course.images_per_step], 2)
    assert disagreement(ours, side.losses(2)) == []
    assert disagreement(ours, side.losses(2)) == []  # it has been reset
    assert side.measure() > 0
    assert all(np.isfinite(value) for value in side.last().values())


@pytest.mark.slow
@pytest.mark.skipif(not HAS_NUMPYRO, reason="NumPyro is not installed")
def test_numpyro_trains_the_same_model(tmp_path):
    """From the same weights, on the same images; the noise of both differs."""
    import jax

    from benchmarks.racing import jaxgen_sides
    from benchmarks.racing.numpyro_side import NumPyro
    from benchmarks.racing.preparing import save_weights

    course = COURSES["vae_mnist"]._replace(batch_size=32)
    images = np.random.default_rng(0).integers(0, 256, (960, 28, 28, 1)).astype(np.uint8)
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}.npy", images)
    learner = jaxgen_sides.learner_of(course)
    state = learner.init(jax.random.key(0))
    save_weights(course, state, 1, tmp_path)
    with jax.numpy_rank_promotion("allow"):  # stax adds biases to batches
        side = NumPyro(course, devices.choose(cuda=False), tmp_path, steps=30)
        before = side.held_out()
        assert side.measure() > 0
        after = side.held_out()
    leaves = jax.tree.leaves(state.params)
    assert side.facts() == {"parameters": sum(leaf.size for leaf in leaves)}
    # The KL divergence of NumPyro's side is an estimate, off by some nats divided by sqrt(960).
    ours = learner.evaluate(state, images, jax.random.key(1))["loss"]
    np.testing.assert_allclose(before, ours, atol=0.5)
    state, _ = learner.epoch(state, images, jax.random.key(1))
    ours = learner.evaluate(state, images, jax.random.key(1))["loss"]
    np.testing.assert_allclose(after, ours, atol=0.5)


@needs_torch
def test_flops_of_a_step(tmp_path):
    """Three products a dense layer, two of the first: images have no gradient."""
    import jax

    from benchmarks.racing import jaxgen_sides, torch_sides
    from benchmarks.racing.preparing import save_weights

    course = Course("vae_mnist", "mnist", batch_size=8)
    np.save(tmp_path / "train.npy", np.zeros((8, 28, 28, 1), np.uint8))
    np.save(tmp_path / "test.npy", np.zeros((8, 28, 28, 1), np.uint8))
    save_weights(course, jaxgen_sides.learner_of(course).init(jax.random.key(0)), 1, tmp_path)
    side = torch_sides.Torch("torch_eager", course, devices.choose(cuda=False), tmp_path, 1)
    products = 2 * 784 * 400 + 3 * (2 * 400 * 20 + 20 * 400 + 400 * 784)
    assert side.flops() == 2 * 8 * products


def quick_race(*words):
    """What a race says on generated digits; nothing is kept."""
    command = [sys.executable, str(ROOT / "benchmarks" / "race.py"), "--quick", "--repeats", "1"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_torch
@pytest.mark.slow
def test_the_whole_race_on_few_images(tmp_path):
    """Every process and every table."""
    said = quick_race("--systems", "vae_mnist", "--data-dir", str(tmp_path))
    assert "the losses agree" in said
    assert "† extrapolated: vae_mnist from 50 of 468 steps" in said


@needs_torch
@pytest.mark.slow
def test_a_race_of_few_seeds(tmp_path):
    words = ["--populations", "--population", "2", "--population-steps", "3"]
    said = quick_race(*words, "--systems", "vae_binarized_mnist", "--data-dir", str(tmp_path))
    (row,) = (line for line in said.splitlines() if line.startswith("| vae_binarized"))
    assert row.count("|") == 8
    assert "|  |" not in row  # every side has a number


def kept_rows(part):
    """The race's rows of a part, of each machine that has it."""
    kept = [json.loads(path.read_text()) for path in measuring.RESULTS.glob("race_*.json")]
    return [
        report.times_table(result[part]["systems"]).splitlines()
        for result in kept
        if "systems" in result.get(part, {})
    ]


@pytest.mark.parametrize(
    ("name", "renewed"), [("docs/race.md", publishing.page), ("README.md", publishing.readme)]
)
def test_published_numbers_come_from_the_newest_results(name, renewed):
    """If this fails: python benchmarks/race.py --publish."""
    text = (ROOT / name).read_text()
    assert renewed(text, publishing.newest_cpu(), publishing.newest_gpu()) == text


def test_numbers_with_default_settings_come_from_results():
    text = (ROOT / "benchmarks" / "NOTES.md").read_text()
    start = text.index("|  | PyTorch, DataLoader |")
    rows = [line for line in text[start:].split("\n\n")[0].splitlines() if "**" in line]
    assert rows
    assert any(set(rows) <= set(kept) for kept in kept_rows(report.UNTUNED))


def a_file(path, systems, machine):
    path.write_text(json.dumps({"machine": machine, "float32": {"systems": systems}}))


def of_jaxlib(version, **changed):
    return entry(**changed) | {"versions": {"jax": "1", "jaxlib": version, "torch": "2"}}


def test_bfloat16_may_differ_by_its_rounding():
    ours = [{"loss": 100.0}, {"loss": 90.0}]
    assert disagreement(ours, [{"loss": 101.0}, {"loss": 94.0}], "bf16") == []
    assert len(disagreement(ours, [{"loss": 101.0}, {"loss": 94.0}])) == 2
    assert len(disagreement(ours, [{"loss": 103.0}, {"loss": 102.0}], "bf16")) == 2


def test_the_newest_machine_with_the_most_systems_is_published(tmp_path):
    two = {name: of_jaxlib("0.10.2") for name in ("vae_flowers", "vae_mnist")}
    one = {"vae_mnist": of_jaxlib("0.10.2", steps=117)}
    machines = {
        "old": ({"processor": "P", "threads": 2}, two),
        "new": ({"processor": "Q(R)  2", "threads": 4, "date": "2026-11-26"}, two),
        "other": (
            {"processor": "Q(R)  2", "threads": 4, "date": "2026-11-25"},
            {"vae_flowers": of_jaxlib("0.9")},
        ),
        "part": ({"processor": "R", "threads": 2, "date": "2026-11-27"}, one),
        "gpu": ({"processor": "S", "threads": 2, "accelerator": "G", "date": "2026-12-01"}, two),
    }
    for name, (machine, raced) in machines.items():
        a_file(tmp_path / f"race_{name}.json", raced, machine)
    found = publishing.newest_cpu(tmp_path)
    assert [publishing.of_machine(result) for result in found] == ["Q 2, 4 cores"] * 2
    assert [publishing.jaxlib(result) for result in found] == ["0.9", "0.10.2"]
    text = f"# A\n{publishing.TABLES[0]}\nold\n{publishing.TABLES[1]}\n## On a GPU\nold\n"
    page = publishing.page(text, found, None)
    assert "old" not in page
    assert page.index("### Q 2, 4 cores, jaxlib 0.9") < page.index("jaxlib 0.10.2")
    assert page.index("| vae_mnist |") < page.rindex("| vae_flowers |")  # in the race's order
    assert publishing.page(page, found, None) == page
    readme = publishing.readme("|  | vae_mnist |\n| --- |\n\nx", found, None)
    assert "| Q 2, 4 cores, jaxlib 0.9 |  | 2.00 |" in readme
    assert publishing.newest_gpu(tmp_path) is None
    gpu = {"machine": {"platform": "cuda", "accelerator": "G", "date": "2026-11-26"}}
    (tmp_path / "accelerator_g.json").write_text(json.dumps(gpu))
    assert publishing.newest_gpu(tmp_path) == gpu


def test_a_gpu_gets_a_row_of_its_own():
    cpu = {
        "machine": {"processor": "P", "threads": 2},
        "float32": {"systems": {n: of_jaxlib("0.9") for n in ("vae_mnist", "wgan_mnist")}},
    }
    sides = {"torch_eager": {"seconds": [3.0]}, "jaxgen_epoch": {"seconds": [1.5]}}
    raced = {"rows": {"float32": {"systems": {"vae_mnist": {"sides": sides}}}}}
    gpu = {"machine": {"accelerator": "G"}, "parts": {"race": raced}}
    before = "x\n\n|  | vae_mnist |\n| --- | --- |\n| old | 9 |\n\ny\n"
    row = "| P, 2 cores, jaxlib 0.9 | 2.00 | 2.00 |\n"
    table = f"|  | vae_mnist | wgan_mnist |\n| --- | --- | --- |\n{row}"
    assert publishing.readme(before, [cpu], None) == f"x\n\n{table}\ny\n"
    assert publishing.readme(before, [cpu], gpu) == f"x\n\n{table}| G | 2.00 |  |\n\ny\n"
    with pytest.raises(SystemExit, match="expected one table"):
        publishing.readme("nothing", [cpu], None)
