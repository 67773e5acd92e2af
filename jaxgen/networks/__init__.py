"""Encoders, decoders, generators and critics: linen modules that know no loss."""

from jaxgen.networks.conv import ConvDecoder, PoolingEncoder, StridedEncoder
from jaxgen.networks.dcgan import DigitCritic, DigitGenerator, PyramidCritic, PyramidGenerator
from jaxgen.networks.mlp import MLPCritic, MLPDecoder, MLPEncoder, MLPGenerator
from jaxgen.networks.scale import LearnedScale

__all__ = [
    "ConvDecoder",
    "DigitCritic",
    "DigitGenerator",
    "LearnedScale",
    "MLPCritic",
    "MLPDecoder",
    "MLPEncoder",
    "MLPGenerator",
    "PoolingEncoder",
    "PyramidCritic",
    "PyramidGenerator",
    "StridedEncoder",
]
