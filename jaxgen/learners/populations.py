"""Many runs as one program: seeds and hyperparameters along the leading axis of every array."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from jaxgen.errors import UserError
from jaxgen.types import Array, Inputs, Labels, Learner, Metrics, PyTree

MEMBERS = "members"  # the axis of the mesh


class Population(NamedTuple):
    """M members that are trained at once, each as if it were alone.

    The state of a population is that of a learner whose arrays have a leading axis M, and so have
    keys and metrics. Members share images and labels and nothing else: one that diverges does not
    change the others.

    Attributes:
      init: keys [M] -> states.
      epoch: (states, images, keys [M], labels, start, stop) -> (states, metrics, each [M, steps]).
        The states are donated.
      evaluate: (states, images, keys [M], labels) -> metrics, each [M].
      num_members: M.
      num_devices: over how many devices the members are spread.
      learner: of the first member, for its functions of a single state and its shapes.
    """

    init: Callable[[Array], PyTree]
    epoch: Callable[..., tuple[PyTree, Metrics]]
    evaluate: Callable[..., Metrics]
    num_members: int
    num_devices: int
    learner: Learner


def population(
    learner_of: Callable[..., Learner],
    hyperparameters: Mapping[str, ArrayLike | Sequence[float]] | None = None,
    num_members: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Population:
    """Many learners that differ in their numbers, as functions that are one program each.

    A device trains its members one after another where it is a CPU, whose cores one member can
    fill, and by `jax.vmap` where it is an accelerator. Devices do not communicate.

    Args:
      learner_of: (**numbers) -> learner, like a function of `systems`; it is called with traced
        scalars, one member's entries of `hyperparameters`.
      hyperparameters: name -> [M] numbers, such as {"learning_rate": [1e-3, 3e-4]}.
      num_members: M, where there are no hyperparameters and the members differ in their keys alone.
      devices: to spread the members over: as many of them as divide M are used. All by default.

    Returns:
      The population. A member's results are those of its learner alone with the same key, up to
      rounding.

    Raises:
      UserError: the hyperparameters have different lengths, or there is no member.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from jaxgen import learners, systems
      >>> small = {"hidden_sizes": (8,), "latent_size": 2, "batch_size": 16}
      >>> betas = {"beta": [0.5, 1.0, 2.0]}
      >>> members = learners.population(lambda beta: systems.vae_mnist(beta=beta, **small), betas)
      >>> states = members.init(jax.random.split(jax.random.key(0), 3))
      >>> images = np.zeros((64, 28, 28, 1), np.uint8)
      >>> states, metrics = members.epoch(states, images, jax.random.split(jax.random.key(1), 3))
      >>> metrics["loss"].shape
      (3, 4)
    """
    numbers = {name: jnp.asarray(values) for name, values in (hyperparameters or {}).items()}
    count = _count(numbers, num_members)
    available = list(jax.devices() if devices is None else devices)
    num_devices = max(n for n in range(1, min(count, len(available)) + 1) if count % n == 0)
    mesh = Mesh(np.array(available[:num_devices]), (MEMBERS,))

    def init(member: PyTree, shared: PyTree) -> PyTree:
        chosen, key = member
        return learner_of(**chosen).init(key)

    def epoch(member: PyTree, shared: PyTree) -> tuple[PyTree, Metrics]:
        state, chosen, key = member
        images, labels, start, stop = shared
        given = {} if labels is None else {"labels": labels}
        return learner_of(**chosen).epoch(state, images, key, start=start, stop=stop, **given)

    def evaluate(member: PyTree, shared: PyTree) -> Metrics:
        state, chosen, key = member
        images, labels = shared
        given = {} if labels is None else {"labels": labels}
        return learner_of(**chosen).evaluate(state, images, key, **given)

    init_all = jax.jit(_of_members(init, mesh))
    train_all = jax.jit(_of_members(epoch, mesh), donate_argnums=0)
    evaluate_all = jax.jit(_of_members(evaluate, mesh))
    first = learner_of(**{name: values[0] for name, values in numbers.items()})

    def train(
        states: PyTree,
        images: Inputs,
        keys: Array,
        labels: Labels = None,
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[PyTree, Metrics]:
        end = -(-len(images) // first.images_per_step) if stop is None else stop
        shared = (jnp.asarray(images), labels, jnp.int32(start), jnp.int32(end))
        return train_all(states, (numbers, keys), shared)

    def measure(states: PyTree, images: Inputs, keys: Array, labels: Labels = None) -> Metrics:
        return evaluate_all(states, (numbers, keys), (jnp.asarray(images), labels))

    def begin(keys: Array) -> PyTree:
        if len(keys) != count:
            raise UserError(f"expected a key for each of the {count} members, got {len(keys)}")
        return init_all((numbers, keys), ())

    return Population(begin, train, measure, count, num_devices, first)


def _count(numbers: Mapping[str, Array], num_members: int | None) -> int:
    lengths = {name: len(values) if values.ndim else 0 for name, values in numbers.items()}
    counts = {*lengths.values(), *([] if num_members is None else [num_members])}
    if len(counts) != 1 or min(counts) < 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise UserError(
            "expected hyperparameters of one length, one number for each member, or num_members, "
            f"got {found}: make them equally long"
        )
    return counts.pop()


def _of_members(function: Callable[[PyTree, PyTree], PyTree], mesh: Mesh) -> Callable[..., PyTree]:
    """A function of one member as a function of all of them, spread over the mesh."""
    in_turn = mesh.devices.flat[0].platform == "cpu"
    split, whole = PartitionSpec(MEMBERS), PartitionSpec()

    def of_device(members: PyTree, shared: PyTree) -> PyTree:
        def one(member: PyTree) -> PyTree:
            return function(member, shared)

        return jax.lax.map(one, members) if in_turn else jax.vmap(one)(members)

    spread = jax.shard_map(
        of_device, mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False
    )

    def of_all(*arguments: PyTree) -> PyTree:
        *own, shared = arguments
        members = own[0] if len(own) == 1 else (own[0], *own[1])
        return spread(members, shared)

    return of_all


def member_of(states: PyTree, index: int) -> PyTree:
    """The state of one member of a population."""
    return jax.tree.map(lambda x: x[index], states)


def stacked(states: Sequence[PyTree]) -> PyTree:
    """The states of single members as that of a population."""
    return jax.tree.map(lambda *x: jnp.stack(x), *states)
