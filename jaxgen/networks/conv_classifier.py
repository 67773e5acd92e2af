"""The convolutional classifier whose hidden layer serves as features of small grey images."""

from collections.abc import Sequence

import flax.linen as nn

from jaxgen.convolutions import Conv
from jaxgen.networks.layers import batch_norm, dense
from jaxgen.types import Array


class ConvClassifier(nn.Module):
    """Convolutions, one dense layer of features, one logit per class.

    Two convolutions (kernel 4, stride 2, padding 1) divide height and width by 4, further ones
    (kernel 3, stride 1) keep them. BatchNorm and ReLU follow every layer but the last.

    Attributes:
      channels: of the convolutions, at least two.
      num_features: size of the dense layer.
      num_classes: number of logits.
      dropout_rate: of the features, in training.
    """

    channels: Sequence[int] = (32, 64, 64)
    num_features: int = 64
    num_classes: int = 10
    dropout_rate: float = 0.3

    @nn.compact
    def __call__(self, images: Array, train: bool) -> tuple[Array, Array]:
        """[B, H, W, C] in [0, 1] -> features [B, num_features], logits [B, num_classes]."""
        x = images
        for i, size in enumerate(self.channels):
            kernel_size, strides = (4, 2) if i < 2 else (3, 1)
            x = Conv(size, kernel_size, strides, padding=1, use_bias=False, name=f"conv_{i}")(x)
            x = nn.relu(batch_norm(x, train, f"conv_norm_{i}"))
        x = dense(x.reshape(x.shape[0], -1), self.num_features, "features")
        features = nn.relu(batch_norm(x, train, "features_norm"))
        dropped = nn.Dropout(self.dropout_rate, deterministic=not train)(features)
        return features, dense(dropped, self.num_classes, "logits")
