"""The types that the packages of jaxgen share."""

from jaxgen.types._adversarial import (
    AdversarialModel,
    CriticLossFunction,
    EvaluateAdversarialFunction,
    EvaluateSetFunction,
    GenerateFunction,
    GeneratorLossFunction,
)
from jaxgen.types._arrays import Array, Inputs, Labels, Metrics, PyTree
from jaxgen.types._data import Dataset, Split
from jaxgen.types._density import (
    Density,
    LogJointFunction,
    ObserveFunction,
    PosteriorFunction,
    SamplePosteriorFunction,
    SamplePriorFunction,
    SimulateFunction,
)
from jaxgen.types._functions import (
    DecodeFunction,
    EncodeFunction,
    InitFunction,
    LogWeightsFunction,
    ReconstructFunction,
    SampleFunction,
)
from jaxgen.types._learner import (
    SKIPPED,
    EpochFunction,
    EvaluateFunction,
    Learner,
    StepFunction,
)
from jaxgen.types._model import EvaluateModelFunction, LossFunction, Model

__all__ = [
    "SKIPPED",
    "AdversarialModel",
    "Array",
    "CriticLossFunction",
    "Dataset",
    "DecodeFunction",
    "Density",
    "EncodeFunction",
    "EpochFunction",
    "EvaluateAdversarialFunction",
    "EvaluateFunction",
    "EvaluateModelFunction",
    "EvaluateSetFunction",
    "GenerateFunction",
    "GeneratorLossFunction",
    "InitFunction",
    "Inputs",
    "Labels",
    "Learner",
    "LogJointFunction",
    "LogWeightsFunction",
    "LossFunction",
    "Metrics",
    "Model",
    "ObserveFunction",
    "PosteriorFunction",
    "PyTree",
    "ReconstructFunction",
    "SampleFunction",
    "SamplePosteriorFunction",
    "SamplePriorFunction",
    "SimulateFunction",
    "Split",
    "StepFunction",
]
