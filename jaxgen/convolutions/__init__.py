"""Strided and transposed convolution, fast in value and derivatives on every platform."""

from jaxgen.convolutions.functions import conv, conv_transpose
from jaxgen.convolutions.modules import Conv, ConvTranspose

__all__ = ["Conv", "ConvTranspose", "conv", "conv_transpose"]
