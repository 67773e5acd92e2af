"""The command line: one flag for each keyword argument, and an experiment for each system."""

import inspect
from pathlib import Path

import pytest

from jaxgen import systems
from jaxgen.runs import flags

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
COMMON = ("workdir", "dataset", "data_dir", "resolution", "fit", "num_epochs", "num_examples")
COMMON += ("seed", "init_from", "no_pictures", "overwrite")


@pytest.mark.parametrize("name", systems.__all__)
def test_every_system_has_an_experiment_that_is_its_own_story(name):
    script = EXPERIMENTS / f"{name}.py"
    assert f"runs.start(systems.{name}" in script.read_text()


@pytest.mark.parametrize("name", systems.__all__)
def test_help_explains_every_flag(name, capsys):
    system = getattr(systems, name)
    with pytest.raises(SystemExit) as stopped:
        flags.parse(system, num_epochs=1, args=["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for keyword in (*COMMON, *inspect.signature(system).parameters):
        flag = f"--{keyword.replace('_', '-')}"
        assert (flag in text) is not keyword.endswith("optimizer")


@pytest.mark.parametrize("name", systems.__all__)
def test_defaults_are_the_systems_own(name):
    system = getattr(systems, name)
    config = flags.parse(system, num_epochs=7, args=[])
    parameters = inspect.signature(system).parameters.values()
    expected = {p.name: p.default for p in parameters if not p.name.endswith("optimizer")}
    for decided in {"image_shape", "num_steps"} & expected.keys():  # the run does
        expected[decided] = None
    assert config.hyperparameters == expected
    assert (config.num_epochs, config.dataset, config.settings.pictures) == (7, "auto", True)
    assert config.workdir == Path("runs") / name


def test_flags_reach_the_configuration_with_their_types():
    words = "--latent-size 3 --hidden-sizes 5 6 --learning-rate 0.01 --binarization dynamic"
    config = flags.parse(systems.vae_mnist, num_epochs=1, args=list[str](words.split()))
    assert config.hyperparameters["latent_size"] == 3
    assert config.hyperparameters["hidden_sizes"] == (5, 6)
    assert config.hyperparameters["learning_rate"] == 0.01
    assert config.hyperparameters["binarization"] == "dynamic"


@pytest.mark.parametrize(
    "words", ["--latent-size many", "--binarization sometimes", "--latent-sise 3"]
)
def test_a_wrong_flag_is_named_and_ends_with_code_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        flags.parse(systems.vae_mnist, num_epochs=1, args=words.split())
    assert stopped.value.code == 2
    assert words.split()[0] in capsys.readouterr().err
