"""The state of adversarial training."""

from typing import NamedTuple

import optax

from jaxgen.errors import UserError
from jaxgen.types import Array, PyTree


class AdversarialState(NamedTuple):
    """What the next step of `adversarial` needs; the dicts have the keys "generator" and "critic".

    Attributes:
      step: int32, the number of generator updates.
      params: of both networks.
      collections: the other collections of their variables, by name: "batch_stats" with BatchNorm
        or spectral normalization; {} without any.
      optimizer_state: of both optimizers.
      ema: the exponential moving average of the generator's variables; {} where it is off.
    """

    step: Array
    params: dict[str, PyTree]
    collections: dict[str, dict[str, PyTree]]
    optimizer_state: dict[str, optax.OptState]
    ema: PyTree

    def variables(self, player: str) -> PyTree:
        """One network's variables, as linen's `apply` takes them."""
        return {"params": self.params[player], **self.collections[player]}

    def changed(self, player: str, **fields: PyTree) -> "AdversarialState":
        """The state with other `params`, `collections` or `optimizer_state` of one network."""
        return self._replace(
            **{name: getattr(self, name) | {player: value} for name, value in fields.items()}
        )


def with_averaged_generator(state: AdversarialState) -> AdversarialState:
    """The state with the averaged generator as its generator, for a learner's `sample`.

    Raises:
      UserError: if the learner keeps no average.
    """
    if not state.ema:
        raise UserError("expected a state with an averaged generator, got none: set ema_decay")
    params = state.ema["params"]
    collections = {name: tree for name, tree in state.ema.items() if name != "params"}
    return state.changed("generator", params=params, collections=collections)
