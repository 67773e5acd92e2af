"""`clip_weights`: the bound holds in floating point, on any tree, in any chain."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16

from jaxgen.errors import UserError
from jaxgen.systems.optimizers import rmsprop
from jaxgen.transforms import clip_weights, share_on_bound

DTYPES = [np.float32, np.float16, bfloat16]
# A few shapes alone: each new one is a program to compile.
SHAPES = [(), (3,), (2, 2)]


def numbers(limit: float):
    """Of every size up to the limit, both zeros among them."""
    return st.one_of(
        st.floats(-limit, limit, width=32),
        st.builds(
            lambda sign, power: sign * 2.0**power, st.sampled_from([-1, 1]), st.integers(-20, 3)
        ),
    )


@st.composite
def arrays(draw):
    """(params, updates) of one leaf; the two need not have one dtype."""
    shape = draw(st.sampled_from(SHAPES))
    size = int(np.prod(shape))
    pair = []
    for limit in (4.0, 4.0):
        dtype = draw(st.sampled_from(DTYPES))
        values = draw(st.lists(numbers(limit), min_size=size, max_size=size))
        pair.append(np.asarray(values, np.float64).reshape(shape).astype(dtype))
    return tuple(pair)


leaves = st.recursive(
    arrays(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=4,
)
bounds = st.sampled_from([0.01, 0.1, 1.0, 0.7, 2.5e-3])


def is_pair(x) -> bool:
    return isinstance(x, tuple)


def apply(optimizer, params, updates) -> Any:
    updates, _ = optimizer.update(updates, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(leaves, bounds)
def test_parameters_land_on_the_clipped_sum(tree, max_abs):
    params = jax.tree.map(lambda pair: pair[0], tree, is_leaf=is_pair)
    updates = jax.tree.map(lambda pair: pair[1], tree, is_leaf=is_pair)
    optimizer = clip_weights(max_abs)
    # Not compiled as a whole, which would take a program for each tree.
    landed = apply(optimizer, params, updates)
    assert jax.tree.structure(landed) == jax.tree.structure(params)
    for p, u, new in zip(*map(jax.tree.leaves, (params, updates, landed)), strict=True):
        assert new.dtype == p.dtype
        p, u, value = (np.asarray(x).astype(np.float64) for x in (p, u, new))
        assert np.all(np.abs(value) <= max_abs)
        # Sum and difference are rounded to one unit in the last place of what they are of.
        coarse = 2 * float(jnp.finfo(new.dtype).eps) * (np.abs(p) + np.abs(u) + max_abs)
        assert np.all(np.abs(value - np.clip(p + u, -max_abs, max_abs)) <= coarse)


@pytest.mark.parametrize("dtype", [*DTYPES, np.float64])
@pytest.mark.parametrize("max_abs", [0.01, 0.1, 3e-3])
def test_the_bound_holds_from_far_outside(dtype, max_abs):
    # Here clip(p + u) - p is rounded by more than the bound's last place: plain arithmetic fails.
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == np.float64):
        params = jnp.asarray(rng.uniform(-3, 3, 10_000), dtype)
        updates = jnp.asarray(rng.normal(0, 1, 10_000), dtype)
        optimizer = clip_weights(max_abs)
        step = jax.jit(lambda p, u: optimizer.update(u, optimizer.init(p), p)[0])
        # Rounded between two programs, and in one.
        landed_apart: Any = optax.apply_updates(params, step(params, updates))
        landed_at_once = jax.jit(lambda p, u: apply(optimizer, p, u))(params, updates)
        for landed in (landed_apart, landed_at_once):
            assert landed.dtype == dtype
            assert np.max(np.abs(np.asarray(landed).astype(np.float64))) <= max_abs
            assert np.max(np.abs(np.asarray(landed).astype(np.float64))) > 0.98 * max_abs


def test_inside_the_bound_nothing_changes():
    params, updates = jnp.array([0.001, -0.004, 0.0]), jnp.array([0.0005, 0.001, -0.0])
    landed = apply(clip_weights(0.01), params, updates)
    np.testing.assert_allclose(landed, np.array([0.0015, -0.003, 0.0], np.float32), rtol=2e-7)


def test_leaves_that_are_not_numbers_to_clip_pass():
    params = {"w": jnp.array([0.5, jnp.inf]), "count": jnp.array(3), "none": None}
    updates = {"w": jnp.array([jnp.nan, 1.0]), "count": jnp.array(40), "none": None}
    optimizer = clip_weights(0.1)
    out: Any = optimizer.update(updates, optimizer.init(params), params)[0]
    assert np.isnan(out["w"][0])
    assert out["count"] == 40
    assert out["none"] is None
    infinite = apply(optimizer, jnp.array([0.5, -0.5]), jnp.array([jnp.inf, -jnp.inf]))
    np.testing.assert_allclose(infinite, [0.1, -0.1], rtol=1e-6)


def three_steps(optimizer, params) -> Any:
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, key):
        grads = jax.tree.map(lambda p: jax.random.normal(key, p.shape, p.dtype), params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for i in range(3):
        params, state = step(params, state, jax.random.key(i))
    return params


def largest(tree) -> float:
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


PARAMS = {"critic": {"w": jnp.full((4, 3), 2.0), "b": jnp.zeros(3)}, "rest": jnp.ones(5)}


def test_in_a_chain_after_rmsprop():
    clipped = three_steps(optax.chain(rmsprop(0.5), clip_weights(0.01)), PARAMS)
    assert largest(clipped) <= 0.01 * (1 + 1e-6)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: optax.multi_transform(
            {"clipped": inner, "free": rmsprop(0.5)}, {"critic": "clipped", "rest": "free"}
        ),
        lambda inner: optax.chain(
            rmsprop(0.5), optax.masked(clip_weights(0.01), {"critic": True, "rest": False})
        ),
        lambda inner: optax.masked(
            optax.chain(optax.masked(inner, {"critic": True, "rest": False})),
            {"critic": True, "rest": True},
        ),
    ],
    ids=["multi_transform", "masked", "masked in masked"],
)
def test_inside_other_transformations(wrap):
    inner = optax.chain(rmsprop(0.5), clip_weights(0.01))
    after = three_steps(wrap(inner), PARAMS)
    assert largest(after["critic"]) <= 0.01 * (1 + 1e-6)
    assert largest(after["rest"]) > 0.1


def test_missing_parameters_are_a_user_error():
    optimizer = clip_weights(0.01)
    with pytest.raises(UserError, match=r"parameters, got none: call update\(grads, state, params"):
        optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))


@pytest.mark.parametrize("max_abs", [0.0, -0.01, float("nan"), float("inf")])
def test_an_impossible_bound_is_a_user_error(max_abs):
    with pytest.raises(UserError, match=f"max_abs to be a number above 0, got {max_abs}"):
        clip_weights(max_abs)


def test_share_on_bound_counts_parameters():
    tree = {"a": jnp.array([0.01, -0.01, 0.0099, 0.0]), "b": jnp.array([[-0.01, 0.02]])}
    assert share_on_bound(tree, 0.01) == pytest.approx(4 / 6)
    assert share_on_bound({}, 0.01) == 0
    far = jnp.linspace(-3, 3, 1000)  # where clipping may stop a unit short of the bound
    after = apply(clip_weights(0.01), far, jnp.zeros(1000))
    assert share_on_bound(after, 0.01) > 0.99
