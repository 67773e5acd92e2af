"""Many runs as one program: seeds and hyperparameters along the leading axis of every array."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.types import Array, Inputs, Labels, Learner, Metrics, PyTree

MEMBERS = "members"  # the axis of the mesh

LearnerOf = Callable[..., Learner]
Numbers = Mapping[str, Array]


class Population:
    """M members that are trained at once, each as if it were alone.

    The state of a population is that of a learner whose arrays have a leading axis M, and so have
    keys and metrics. Members share images and labels and nothing else: one that diverges does not
    change the others. Made by `population`.

    Attributes:
      num_members: M.
      num_devices: over how many devices the members are spread.
      learner: of the first member, for its functions of a single state and its shapes.
    """

    def __init__(self, learner_of: LearnerOf, numbers: Numbers, num_members: int, mesh: Mesh):
        self.num_members = num_members
        self.num_devices = mesh.size
        self.learner = learner_of(**{name: values[0] for name, values in numbers.items()})
        self._numbers = numbers
        self._init = jax.jit(_of_members(partial(_init, learner_of), mesh))
        self._epoch = jax.jit(_of_members(partial(_epoch, learner_of), mesh), donate_argnums=0)
        self._evaluate = jax.jit(_of_members(partial(_evaluate, learner_of), mesh))

    def init(self, keys: Array) -> PyTree:
        """keys [M] -> states.

        Raises:
          UserError: there are more or fewer keys than members.
        """
        self._check_keys(keys)
        return self._init(None, (self._numbers, keys), None)

    def epoch(
        self,
        states: PyTree,
        images: Inputs,
        keys: Array,
        labels: Labels = None,
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[PyTree, Metrics]:
        """(states, metrics, each [M, steps]) after the steps from `start` to before `stop`.

        The arguments are those of a learner's `epoch`, with keys [M]. The states are donated.

        Raises:
          UserError: for images, labels or keys that do not fit.
        """
        self._check(images, labels, keys)
        end = -(-len(images) // self.learner.images_per_step) if stop is None else stop
        shared = jnp.asarray(images), labels, jnp.int32(start), jnp.int32(end)
        return self._epoch(states, (self._numbers, keys), shared)

    def evaluate(
        self, states: PyTree, images: Inputs, keys: Array, labels: Labels = None
    ) -> Metrics:
        """Metrics, each [M]; arguments and errors are those of `epoch`."""
        self._check(images, labels, keys)
        return self._evaluate(states, (self._numbers, keys), (jnp.asarray(images), labels))

    def _check(self, images: Inputs, labels: Labels, keys: Array) -> None:
        """What a learner checks of arrays on the host, and cannot inside a program."""
        _checks.check_images(images, self.learner.image_shape)
        if labels is not None:
            _checks.check_labels(labels, len(images), self.learner.num_classes)
        self._check_keys(keys)

    def _check_keys(self, keys: Array) -> None:
        if len(keys) != self.num_members:
            raise UserError(
                f"expected a key for each of the {self.num_members} members, got {len(keys)}: "
                "split a key by jax.random.split"
            )


def population(
    learner_of: LearnerOf,
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
    return Population(learner_of, numbers, count, mesh)


# ---- one member: (its state, numbers and key; what all share) -> results


def _init(learner_of: LearnerOf, member: PyTree, shared: PyTree) -> PyTree:
    _, numbers, key = member
    return learner_of(**numbers).init(key)


def _epoch(learner_of: LearnerOf, member: PyTree, shared: PyTree) -> tuple[PyTree, Metrics]:
    state, numbers, key = member
    images, labels, start, stop = shared
    learner, given = learner_of(**numbers), _given(labels)
    return learner.epoch(state, images, key, start=start, stop=stop, **given)


def _evaluate(learner_of: LearnerOf, member: PyTree, shared: PyTree) -> Metrics:
    state, numbers, key = member
    images, labels = shared
    return learner_of(**numbers).evaluate(state, images, key, **_given(labels))


def _given(labels: Labels) -> dict[str, Any]:
    return {} if labels is None else {"labels": labels}


def _count(numbers: Numbers, num_members: int | None) -> int:
    lengths = {name: len(values) if values.ndim else 0 for name, values in numbers.items()}
    counts = {*lengths.values(), *([] if num_members is None else [num_members])}
    if len(counts) != 1 or min(counts) < 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise UserError(
            "expected hyperparameters of one length, one number for each member, or num_members, "
            f"got {found}: make them equally long"
        )
    return counts.pop()


def _of_members(one: Callable[[PyTree, PyTree], PyTree], mesh: Mesh) -> Callable[..., PyTree]:
    """A function of one member as a function of all, spread over the mesh.

    Its arguments are the states, which can be donated so, (numbers, keys), and what all share.
    """
    split, whole = PartitionSpec(MEMBERS), PartitionSpec()

    def of_device(members: PyTree, shared: PyTree) -> PyTree:
        def of_one(member: PyTree) -> PyTree:
            return one(member, shared)

        return jax.lax.map(of_one, members) if _in_turn(mesh) else jax.vmap(of_one)(members)

    spread = jax.shard_map(
        of_device, mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False
    )

    def of_all(states: PyTree, others: tuple[PyTree, Array], shared: PyTree) -> PyTree:
        return spread((states, *others), shared)

    return of_all


def _in_turn(mesh: Mesh) -> bool:
    """Whether a device trains its members one after another: a single one can fill a CPU."""
    return mesh.devices.flat[0].platform == "cpu"


def member_of(states: PyTree, index: int) -> PyTree:
    """The state of one member of a population."""
    return jax.tree.map(lambda x: x[index], states)


def stacked(states: Sequence[PyTree]) -> PyTree:
    """The states of single members as that of a population."""
    return jax.tree.map(lambda *x: jnp.stack(x), *states)
