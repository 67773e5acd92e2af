"""Measures of a trained model: likelihoods, sample quality, and its latent space.

    >>> from jaxgen import evaluation
    >>> network = evaluation.classifier("mnist")

docs/evaluation.md has the equations, and says what the numbers mean.
"""

from jaxgen.evaluation.activity import active_units, latent_activity
from jaxgen.evaluation.aggregate_posterior import KLSplit, kl_split
from jaxgen.evaluation.annealing import (
    AnnealedEstimate,
    BidirectionalEstimate,
    annealed_importance_sampling,
    bidirectional,
)
from jaxgen.evaluation.bits import bits_per_dimension, dequantized
from jaxgen.evaluation.bounds import RateDistortion, elbo, importance_bounds, rate_distortion
from jaxgen.evaluation.class_scores import (
    class_histogram,
    class_histogram_distance,
    classifier_score,
)
from jaxgen.evaluation.conversion import converted
from jaxgen.evaluation.encoding import Posteriors, posteriors
from jaxgen.evaluation.feature_choice import agreement, chosen_network, default_network
from jaxgen.evaluation.feature_networks import (
    FeatureNetwork,
    Features,
    classifier,
    from_function,
    random_convolutions,
)
from jaxgen.evaluation.frechet import frechet_distance
from jaxgen.evaluation.kernel import KernelDistance, kernel_distance
from jaxgen.evaluation.likelihood import (
    ImportanceEstimate,
    importance_sampling,
    log_likelihood,
)
from jaxgen.evaluation.manifolds import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)
from jaxgen.evaluation.neighbours import nearest
from jaxgen.evaluation.quality import sample_quality
from jaxgen.evaluation.report import Evaluation, evaluate
from jaxgen.evaluation.samples import draw_samples

__all__ = [
    "AnnealedEstimate",
    "BidirectionalEstimate",
    "DensityCoverage",
    "Evaluation",
    "FeatureNetwork",
    "Features",
    "ImportanceEstimate",
    "KLSplit",
    "KernelDistance",
    "Posteriors",
    "PrecisionRecall",
    "RateDistortion",
    "active_units",
    "agreement",
    "annealed_importance_sampling",
    "bidirectional",
    "bits_per_dimension",
    "chosen_network",
    "class_histogram",
    "class_histogram_distance",
    "classifier",
    "classifier_score",
    "converted",
    "default_network",
    "density_coverage",
    "dequantized",
    "draw_samples",
    "elbo",
    "evaluate",
    "frechet_distance",
    "from_function",
    "importance_bounds",
    "importance_sampling",
    "kernel_distance",
    "kl_split",
    "latent_activity",
    "log_likelihood",
    "nearest",
    "posteriors",
    "precision_recall",
    "random_convolutions",
    "rate_distortion",
    "sample_quality",
]
