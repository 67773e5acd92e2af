"""The tables of docs/scale.md, and the model of costs behind them."""

import json

import pytest

from benchmarks import scale

PROGRAM = """
  %x = f32[8,4]{1,0} dot(f32[8,2]{1,0} %a, f32[2,4]{1,0} %b)
  %all-reduce.3 = (f32[400]{0}, bf16[784,400]{1,0}) all-reduce(f32[400]{0} %g, bf16[784,400] %h)
  ROOT all-gather.1 = f32[128,2]{1,0} all-gather(f32[16,2]{1,0} %z), dimensions={0}
  %s = f32[] all-reduce-start(f32[] %t), channel_id=2
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    found = scale.collectives(PROGRAM)
    assert found == {
        "all-reduce": [2, 400 * 4 + 784 * 400 * 2 + 4],
        "all-gather": [1, 128 * 2 * 4],
    }


def test_the_page_comes_from_the_results():
    """If this fails: python benchmarks/scale.py --publish."""
    rows = json.loads(scale.RESULT.read_text())
    text = scale.PAGE.read_text()
    assert scale.published(text, rows) == text


@pytest.mark.parametrize("name", json.loads(scale.RESULT.read_text()))
def test_a_step_moves_its_gradients_and_little_else(name):
    row = json.loads(scale.RESULT.read_text())[name]
    moved = sum(size for _, size in row["collectives"].values())
    gradients = 4 * row["parameters"]
    assert moved >= 0.98 * gradients  # the head for log_var of an autoencoder has none
    # The samples of an iwae_mnist are gathered; five critic updates of a wgan are counted each.
    most = {"iwae_mnist": 3.0, "wgan_mnist": 6.0, "wgan_gp_mnist": 6.0}.get(name, 1.5)
    assert moved <= most * gradients


@pytest.mark.parametrize("name", ["cvae_mnist", "vae_binarized_mnist", "vae_flowers", "vae_mnist"])
def test_without_batch_norm_a_step_moves_its_gradients_and_its_metrics(name):
    row = json.loads(scale.RESULT.read_text())[name]
    assert row["collectives"] == {"all-reduce": [1, 4 * row["parameters"] + 4 * 4]}


def test_the_model_of_costs():
    row = {"operations": 1e11, "collectives": {"all-reduce": [2, 4e7]}}
    assert scale.seconds(row, 1) == pytest.approx(1e11 / scale.RATE)
    expected = 1e11 / scale.RATE / 8 + 2 * 2e-5 + 2 * 7 / 8 * 4e7 / 2e11
    assert scale.seconds(row, 8) == pytest.approx(expected)
    small = {"operations": 1.0, "collectives": {}}
    assert scale.seconds(small, 512) == scale.FLOOR
