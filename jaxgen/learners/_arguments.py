"""Checks of a learner's arguments, made on the host around a compiled function.

They cost microseconds: floats and labels are read only where they are NumPy arrays. What shapes and
dtypes decide is checked inside the function, which Python runs once for each compilation.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

try:
    from jax._src.core import trace_state_clean as _is_outermost

    _knows_traces = True
except ImportError:  # a later JAX: donation under `jax.vmap` then warns, and no program has options
    _knows_traces = False

    def _is_outermost() -> bool:
        return True


from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.types import AdversarialModel, Model, PyTree

WITHOUT_LABELS = ("sample",)  # functions of conditional systems that draw them where none are given


OptionsOf = Callable[[], Mapping[str, Any] | None]


def no_options() -> None:
    """XLA's defaults."""


def compiled(
    function: Callable[..., Any],
    model: Model | AdversarialModel,
    expected: "ExpectedState",
    options_of: OptionsOf = no_options,
) -> Any:
    """A function of a learner, compiled behind the checks of its arguments.

    What an argument is follows from its name: state, images, key, labels, latents, num_samples
    (static), start and stop. The state of a function that returns a new one is donated.

    Args:
      function: of the learner.
      model: whose images, latents and labels it takes.
      expected: its states.
      options_of: () -> XLA's options for the program, asked for at the first call. They apply where
        it is called from Python on one device: a program with options cannot be part of another.
    """
    name = function.__name__
    signature = inspect.signature(function)

    @functools.wraps(function)
    def traced(state: PyTree, *args: Any, **keywords: Any) -> Any:
        expected.check_structure(state)
        return function(state, *args, **keywords)

    static = ("num_samples",) if "num_samples" in signature.parameters else ()
    donated = (0,) if name in ("step", "epoch") else ()
    jitted: Any = jax.jit(traced, static_argnames=static, donate_argnums=donated)

    @functools.cache
    def tuned() -> Any:
        options = dict(options_of() or {})
        if not options:
            return jitted
        return jax.jit(
            traced, static_argnames=static, donate_argnums=donated, compiler_options=options
        )

    # Under `jax.vmap` a state may be smaller than the one that replaces it.
    inside: Any = jax.jit(traced, static_argnames=static)

    @functools.wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        bound = signature.bind(*args, **keywords)
        arguments = bound.arguments
        expected.check_type(arguments["state"])
        if "images" in arguments:
            _check_images(arguments["images"], model.image_shape)
        if "latents" in arguments:
            _check_latents(arguments["latents"], model.latent_size)
        if "num_samples" in arguments:
            arguments["num_samples"] = _num_samples(arguments["num_samples"])
        if "key" in arguments:
            _check_key(arguments["key"])
        _check_labels(name, arguments, model.num_classes)
        if not _is_outermost():
            return inside(*bound.args, **bound.kwargs)
        tunable = _knows_traces and options_of is not no_options
        plain = not tunable or _is_divided(arguments["state"])
        return (jitted if plain else tuned())(*bound.args, **bound.kwargs)

    function_of_learner = _as_compiled(checked, jitted)
    if options_of is not no_options:
        function_of_learner._cache_size = lambda: tuned()._cache_size()
    return function_of_learner


def compiled_init(init: Callable[[jax.Array], PyTree]) -> Any:
    """`init`, compiled behind the check of its key."""
    jitted: Any = jax.jit(init)

    @functools.wraps(init)
    def checked(key: jax.Array) -> PyTree:
        _check_key(key)
        return jitted(key)

    return _as_compiled(checked, jitted)


def _is_divided(state: PyTree) -> bool:
    """Whether a program of this state is for several devices."""
    if jax.sharding.get_abstract_mesh().size > 1:
        return True
    leaves = jax.tree.leaves(state)
    return any(isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 for x in leaves)


def _as_compiled(function: Any, jitted: Any) -> Any:
    """The function with the attributes of a compiled one that inspect it."""
    function._cache_size, function.lower = jitted._cache_size, jitted.lower
    return function


class ExpectedState:
    """The type of a learner's state and the shapes of its arrays.

    Args:
      kind: the NamedTuple.
      init: key -> state.
    """

    def __init__(self, kind: type, init: Callable[[jax.Array], PyTree]):
        self._kind = kind
        self._init = init

    def check_type(self, state: PyTree) -> None:
        """Raises UserError unless the state is of the learner's NamedTuple."""
        if not isinstance(state, self._kind):
            raise UserError(
                f"expected the state that this learner's init gives, a {self._kind.__name__}, got "
                f"{type(state).__name__}: pass that state first"
            )
        if any(_is_deleted(leaf) for leaf in jax.tree.leaves(state)):
            raise UserError(
                "expected a state that was not passed to step or epoch before, which reuse its "
                "memory: go on with the state that they returned, or copy it first by "
                "jax.tree.map(jnp.copy, state)"
            )

    def check_structure(self, state: PyTree) -> None:
        """Raises UserError for the first array that differs in shape from those of `init`."""
        found = _shapes(state)
        for name in [*self._shapes, *found]:
            if self._shapes.get(name) != found.get(name):
                raise UserError(
                    f"expected the state of this learner, where state{name} is "
                    f"{self._shapes.get(name, 'absent')}, got one where it is "
                    f"{found.get(name, 'absent')}: pass what this learner's init gives"
                )

    @functools.cached_property
    def _shapes(self) -> dict[str, list[int]]:
        return _shapes(jax.eval_shape(self._init, jax.eval_shape(lambda: jax.random.key(0))))


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not _checks.is_traced(leaf) and leaf.is_deleted()


def _shapes(state: PyTree) -> dict[str, list[int]]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): list(jnp.shape(leaf)) for path, leaf in leaves}


def _check_images(images: Any, image_shape: tuple[int, int, int]) -> None:
    _checks.check_images(images, image_shape)
    if not len(images):
        raise UserError(
            f"expected at least one image, got {list(images.shape)}: pass some of the data"
        )


def _check_latents(latents: Any, latent_size: int) -> None:
    if not hasattr(latents, "shape") or latents.ndim != 2 or latents.shape[1] != latent_size:
        found = list(latents.shape) if hasattr(latents, "shape") else type(latents).__name__
        raise UserError(
            f"expected latents of shape [N, {latent_size}], got {found}: reshape them, or build "
            "the system with another latent_size"
        )


def _num_samples(value: Any) -> Any:
    if hasattr(value, "dimension_as_value"):  # a size that jax.export leaves open
        return value
    return _checks.whole_number("num_samples", value)


def _check_key(key: Any) -> None:
    if isinstance(key, jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
        if typed or (key.dtype == jnp.uint32 and key.shape == (2,)):
            return
        found = f"{key.dtype}{list(key.shape)}"
    else:
        found = type(key).__name__
    raise UserError(
        f"expected key to be one random key of JAX, got {found}: pass jax.random.key(seed), or one "
        "made from it by jax.random.split"
    )


def _check_labels(name: str, arguments: dict[str, Any], num_classes: int) -> None:
    labels = arguments.get("labels")
    if labels is None:
        if num_classes and name not in WITHOUT_LABELS:
            raise UserError(
                "expected labels, int32 [N], got none: this system is conditional, pass labels=..."
            )
        return
    if not num_classes:
        raise UserError("expected no labels: this system is not conditional, leave them out")
    if "num_samples" in arguments and "images" not in arguments:
        count, of = arguments["num_samples"], "samples"
    elif "latents" in arguments:
        count, of = arguments["latents"].shape[0], "latents"
    else:
        count, of = arguments["images"].shape[0], "images"
    _checks.check_labels(labels, count, num_classes, of=of)
