"""`jaxgen evaluate`, and `--evaluate` of training."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxgen import _commands, runs
from jaxgen.errors import UserError
from jaxgen.runs import evaluation_tables

pytestmark = pytest.mark.usefixtures("shared_systems")
SMALL = "--latent-size 3 --batch-size 16 --num-epochs 1 --no-pictures"
VAE = f"{SMALL} --hidden-sizes 6 --binarization threshold"
GAN = f"{SMALL} --generator-sizes 6 --critic-sizes 5 --ema-decay 0.9"


def train(system, words, idx_folder, workdir):
    data = f"--dataset idx:{idx_folder} --workdir {workdir}"
    _commands.run(["train", system, *f"{words} {data}".split()])
    return workdir


@pytest.fixture(scope="module")
def trained(idx_folder, tmp_path_factory):
    """Two seeds of a VAE, one of them evaluated by the flag, and a GAN."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGEN_CACHE_DIR", str(folder / "cache"))
        return {
            "a": train("vae_mnist", f"{VAE} --evaluate", idx_folder, folder / "a"),
            "b": train("vae_mnist", f"{VAE} --seed 1", idx_folder, folder / "b"),
            "gan": train("wgan_mnist", GAN, idx_folder, folder / "gan"),
        }


def evaluate(*words):
    _commands.run(["evaluate", *map(str, words), "--num-samples", "20"])


def report_of(workdir):
    return json.loads((workdir / "evaluation.json").read_text())


def test_a_run_is_evaluated_by_the_flag_at_its_end(trained):
    report = report_of(trained["a"])
    assert report["likelihood"]["num_samples"] == 5000
    assert report["num_images"] == 12
    assert "evaluate" not in json.loads((trained["a"] / "config.json").read_text())


def test_one_run(trained, capsys):
    evaluate(trained["b"], "--num-images", "10")
    report, out = report_of(trained["b"]), capsys.readouterr().out
    assert report["epoch"] == 1
    assert report["seed"] == 1
    assert report["num_images"] == 10
    assert f"{report['likelihood']['log_likelihood']:.2f}" in out
    assert "floor" in out
    assert "fixed random convolutions" in out
    assert "FID" not in out
    with Image.open(trained["b"] / "images" / "nearest.png") as picture:
        assert np.asarray(picture).std() > 0
    assert not (trained["b"] / "evaluation-partial.npz").exists()


def test_the_same_run_gives_the_same_numbers(trained):
    evaluate(trained["b"])
    first = report_of(trained["b"])
    evaluate(trained["b"])
    assert report_of(trained["b"]) == first


def test_seeds_of_one_configuration_give_mean_and_deviation(trained, capsys):
    evaluate(trained["a"], trained["b"])
    row = capsys.readouterr().out.splitlines()[-1]
    values = [report_of(trained[n])["likelihood"]["log_likelihood"] for n in "ab"]
    assert row.startswith("vae_mnist")
    assert f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" in row or "±" in row
    assert row.split()[1] == "2"


def test_several_configurations_give_a_row_each(trained, capsys):
    evaluate(trained["a"], trained["gan"])
    heading, first, second = capsys.readouterr().out.splitlines()[-3:]
    assert heading.split()[:2] == ["configuration", "runs"]
    assert first.startswith("vae_mnist")
    assert second.startswith("wgan_mnist")
    assert " - " in second  # no likelihood
    report = report_of(trained["gan"])
    assert report["generator"] == "moving average"
    assert report["likelihood"] is None


def test_a_folder_that_cannot_be_evaluated_is_refused_before_the_others_are(trained, tmp_path):
    (trained["b"] / "evaluation.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"config\.json"):
        evaluate(trained["b"], tmp_path)
    assert not (trained["b"] / "evaluation.json").exists()
    with pytest.raises(UserError, match="from 1 to the 12 images"):
        evaluate(trained["b"], "--num-images", "13")
    with pytest.raises(UserError, match="at least one run, got none"):
        _commands.run(["evaluate"])


def test_from_python(trained):
    report = runs.evaluate_run(runs.load(trained["b"]), num_samples=20, split="train")
    assert report["split"] == "train"
    assert report["num_images"] == 40


def test_a_table_leaves_no_run_out():
    def report(value):
        return {"likelihood": {"log_likelihood": value}, "latents": None, "sample_quality": None}

    configs = [{"system": "vae_mnist", "beta": beta, "seed": i} for i, beta in enumerate([1, 1, 2])]
    table = evaluation_tables.table_of_runs(configs, [report(-1.0), report(-2.0), report(-3.0)])
    lines = [line.split() for line in table.splitlines()]
    assert lines[1][:2] == ["vae_mnist,", "beta=1"]
    assert lines[1][2:] == ["2", "-1.50", "±", "0.707"]
    assert lines[2][2:] == ["1", "-3.00"]
    missing = evaluation_tables.table_of_runs(configs, [report(-1.0), report(None), report(-3.0)])
    assert missing.splitlines()[1].split()[2:] == ["2", "-"]


def test_the_features_that_are_asked_for_are_taken(trained):
    # Images of 8 by 8 do not fit the classifier: a flag that is ignored would not notice.
    with pytest.raises(UserError, match=r"images of 28x28x1 for jaxgen's MNIST.*got 8x8x1"):
        evaluate(trained["b"], "--num-images", "10", "--features", "mnist")
    evaluate(trained["b"], "--num-images", "10", "--features", "random")
    assert "random" in report_of(trained["b"])["sample_quality"]["feature_network"]
