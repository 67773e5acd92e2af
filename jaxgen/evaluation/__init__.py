"""Measures of a trained model: sample quality, and its latent space.

    >>> from jaxgen import evaluation
    >>> network = evaluation.classifier("mnist")

docs/evaluation.md has the equations, and says what the numbers mean.
"""

from jaxgen.evaluation.class_scores import (
    class_histogram,
    class_histogram_distance,
    classifier_score,
)
from jaxgen.evaluation.conversion import converted
from jaxgen.evaluation.feature_networks import (
    FeatureNetwork,
    Features,
    classifier,
    default_network,
    from_function,
    random_convolutions,
)
from jaxgen.evaluation.frechet import frechet_distance
from jaxgen.evaluation.kernel import KernelDistance, kernel_distance
from jaxgen.evaluation.manifolds import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)
from jaxgen.evaluation.neighbours import nearest
from jaxgen.evaluation.quality import sample_quality

__all__ = [
    "DensityCoverage",
    "FeatureNetwork",
    "Features",
    "KernelDistance",
    "PrecisionRecall",
    "class_histogram",
    "class_histogram_distance",
    "classifier",
    "classifier_score",
    "converted",
    "default_network",
    "density_coverage",
    "frechet_distance",
    "from_function",
    "kernel_distance",
    "nearest",
    "precision_recall",
    "random_convolutions",
    "sample_quality",
]
