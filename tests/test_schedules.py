"""Schedules against the formulas of their papers."""

import jax
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.models import schedules
from jaxgen.systems.importance_weighted_vae import iwae_learning_rate_schedule


@pytest.mark.parametrize("steps", [1, 10, 7])
def test_a_cycle_rises_for_half_of_it_and_then_stays(steps):
    schedule = jax.jit(schedules.cyclical(steps))
    for step in range(3 * steps + 1):
        place = step % steps
        expected = place / (steps / 2) if place < steps / 2 else 1.0
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)


def test_each_stage_of_the_learning_rate_lasts_three_times_the_one_before():
    # 3280 epochs of 10 steps, as published: 10^(−i/7) for 3^i epochs.
    values = np.asarray(jax.vmap(iwae_learning_rate_schedule(32_800))(np.arange(40_000)))
    expected = np.concatenate([np.full(10 * 3**i, 10 ** (-i / 7)) for i in range(8)])
    np.testing.assert_allclose(values[:32_800], expected, rtol=1e-6)
    np.testing.assert_allclose(values[32_800:], 0.1, rtol=1e-6)


def test_the_stages_scale_with_the_number_of_steps():
    long, short = (jax.vmap(iwae_learning_rate_schedule(steps)) for steps in (32_800, 3_280))
    np.testing.assert_array_equal(short(np.arange(3_280)), long(10 * np.arange(3_280)))


@pytest.mark.parametrize("build", [schedules.cyclical, iwae_learning_rate_schedule])
@pytest.mark.parametrize("steps", [0, -1, float("nan")])
def test_an_impossible_length_is_a_user_error(build, steps):
    with pytest.raises(UserError, match=f"at least 1, got {steps}"):
        build(steps)
