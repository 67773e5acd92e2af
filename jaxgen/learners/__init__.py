"""Training: a model and its optimizers make a Learner.

Here a step is differentiated, jit-compiled and scanned over an epoch; nothing here knows which
family of models it moves.
"""

from jaxgen.learners.adversarial_state import AdversarialState, with_averaged_generator
from jaxgen.learners.adversarial_training import adversarial
from jaxgen.learners.data_parallelism import BATCH_AXIS
from jaxgen.learners.minimization import MinimizeState, minimize
from jaxgen.learners.populations import Population, member_of, population, stacked

__all__ = [
    "BATCH_AXIS",
    "AdversarialState",
    "MinimizeState",
    "Population",
    "adversarial",
    "member_of",
    "minimize",
    "population",
    "stacked",
    "with_averaged_generator",
]
