"""Strided and transposed convolution whose value and gradients are fast on every platform."""

from jaxgen.convolutions.functions import conv, conv_transpose
from jaxgen.convolutions.modules import Conv, ConvTranspose

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose"]
