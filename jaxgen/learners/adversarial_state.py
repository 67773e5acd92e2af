"""The state of an adversarial descent: two networks, their optimizers, and an average of one."""

from typing import NamedTuple

import optax

from jaxgen.errors import UserError
from jaxgen.types import Array, PyTree


class AdversarialState(NamedTuple):
    """What the next step of `adversarial` needs; the dicts have the keys "generator" and "critic".

    Attributes:
      step: int32, the number of generator updates.
      params: of both networks.
      batch_stats: running averages of BatchNorm; {} where a network has none.
      optimizer_state: of both optimizers.
      ema: the exponential moving average of the generator's variables; {} where it is off.
    """

    step: Array
    params: dict[str, PyTree]
    batch_stats: dict[str, PyTree]
    optimizer_state: dict[str, optax.OptState]
    ema: PyTree

    def variables(self, player: str) -> PyTree:
        """One network's variables, as linen's `apply` takes them."""
        return {"params": self.params[player], "batch_stats": self.batch_stats[player]}

    def changed(self, player: str, **fields: PyTree) -> "AdversarialState":
        """The state with other `params`, `batch_stats` or `optimizer_state` of one network."""
        return self._replace(
            **{name: getattr(self, name) | {player: value} for name, value in fields.items()}
        )


def with_averaged_generator(state: AdversarialState) -> AdversarialState:
    """The state with the moving average in the generator's place, for a learner's `sample`.

    Raises:
      UserError: where the learner keeps no average.
    """
    if not state.ema:
        raise UserError("expected a state with an averaged generator, got none: set ema_decay")
    return state.changed("generator", **state.ema)
