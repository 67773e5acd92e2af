"""An encoder and a decoder as pure functions of the variables of both.

Shared by `vae` and `autoencoder`.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen import _checks
from jaxgen.errors import UserError
from jaxgen.models import _modules
from jaxgen.models.likelihoods import Likelihood
from jaxgen.models.losses import bounded_log_var
from jaxgen.models.pixels import Binarization, binarize, check_binarization, unit_interval
from jaxgen.models.precision import Precision, check_precision
from jaxgen.types import Array, DecodeFunction, Inputs, Labels, PyTree

RESIZE = "change the module, or the size given to the model"


class Autoencoder(nn.Module):
    """An encoder and a decoder that are initialized together."""

    encoder: Any
    decoder: Any

    def __call__(self, images: Array, **labels: Array) -> tuple[Any, Any]:
        """What both give, for `init`."""
        encoded = self.encoder(images, train=False, **labels)
        mean = encoded[0] if isinstance(encoded, tuple) else encoded
        return encoded, self.decoder(mean, train=False, **labels)


class Networks(NamedTuple):
    """An encoder, a decoder, and what is known of their images.

    Attributes:
      encoder: linen module, (images, train, labels) -> (mean, log_var), each [B, latent_size].
      decoder: linen module, (latents, train, labels) -> parameters of the likelihood.
      likelihood: p(x|z).
      image_shape: (H, W, C).
      latent_size: D.
      num_classes: 0 for a model that is not conditional.
      binarization: of the images.
      precision: that both compute in.
    """

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    image_shape: tuple[int, int, int]
    latent_size: int
    num_classes: int
    binarization: Binarization
    precision: Precision

    def init(self, key: Array) -> PyTree:
        """key -> variables; the outputs are checked for their shapes."""
        module = Autoencoder(self.encoder, self.decoder)
        images, labels = example(self.image_shape, self.num_classes)
        (encoded, output), variables = _modules.init(module, key, images, **labels)
        check_gaussian("the encoder", encoded, self.latent_size)
        decoded = jax.eval_shape(self.likelihood.mean, output)
        _modules.check_shape("images of the decoder", decoded, self.image_shape, RESIZE)
        return variables

    def observe(self, images: Inputs, key: Array | None = None) -> Array:
        """Images as the likelihood sees them: floats in [0, 1], binarized where asked for."""
        return binarize(unit_interval(images, self.image_shape), self.binarization, key)

    def encoded(
        self,
        variables: PyTree,
        images: Array,
        labels: Array | None,
        train: bool,
        key: Array | None = None,
    ) -> tuple[tuple[Array, Array], PyTree]:
        """(mean, log_var) of q(z|x), and the encoder's collections."""
        own = _modules.of_part(variables, "encoder")
        (mean, log_var), collections = _modules.apply(
            self.encoder,
            own,
            images,
            train=train,
            labels=labels,
            key=key,
            precision=self.precision,
        )
        return (mean, bounded_log_var(log_var)), collections

    def decoded(
        self,
        variables: PyTree,
        latents: Array,
        labels: Array | None,
        train: bool,
        key: Array | None = None,
    ) -> tuple[Any, PyTree]:
        """Parameters of p(x|z), and the decoder's collections."""
        own = _modules.of_part(variables, "decoder")
        return _modules.apply(
            self.decoder,
            own,
            latents,
            train=train,
            labels=labels,
            key=key,
            precision=self.precision,
        )

    def encode(
        self, variables: PyTree, /, images: Inputs, *, labels: Labels = None
    ) -> tuple[Array, Array]:
        """(mean, log_var) in evaluation mode."""
        checked = _modules.checked_labels(labels, self.num_classes)
        return self.encoded(variables, self.observe(images), checked, train=False)[0]

    def decode(self, variables: PyTree, /, latents: Inputs, *, labels: Labels = None) -> Array:
        """The mean image of each latent, in evaluation mode."""
        checked = _modules.checked_labels(labels, self.num_classes)
        latents = jnp.asarray(latents)
        return self.likelihood.mean(self.decoded(variables, latents, checked, train=False)[0])

    def reconstruct(self, variables: PyTree, /, images: Inputs, *, labels: Labels = None) -> Array:
        """The decoded mean of q(z|x)."""
        mean, _ = self.encode(variables, images, labels=labels)
        return self.decode(variables, mean, labels=labels)

    def sample(
        self, variables: PyTree, /, num_samples: int, key: Array, *, labels: Labels = None
    ) -> Array:
        """Decoded draws from N(0, I), of labels drawn uniformly where none are given."""
        return sample_from_prior(
            self.decode, self.latent_size, self.num_classes, variables, num_samples, key, labels
        )


def networks_of(
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    image_shape: tuple[int, int, int],
    latent_size: int | None,
    num_classes: int,
    binarization: Binarization,
    precision: Precision,
) -> Networks:
    """`Networks` from the arguments of a model, checked; latent_size derived where it is None."""
    check_binarization(binarization)
    check_precision(precision)
    num_classes = _checks.whole_number("num_classes", num_classes, 0)
    if latent_size is None:
        latent_size = _derived_latent_size(encoder, image_shape, num_classes)
    latent_size = _checks.whole_number("latent_size", latent_size)
    return Networks(
        encoder,
        decoder,
        likelihood,
        image_shape,
        latent_size,
        num_classes,
        binarization,
        precision,
    )


def example(image_shape: tuple[int, ...], num_classes: int) -> tuple[Array, dict[str, Array]]:
    """One image, and its label as a keyword where there are labels."""
    labels = {"labels": jnp.zeros(1, jnp.int32)} if num_classes else {}
    return jnp.zeros((1, *image_shape)), labels


def check_gaussian(what: str, output: Any, size: int) -> None:
    """Raises UserError unless a module has given mean and log_var of one image."""
    if not (isinstance(output, tuple) and len(output) == 2):
        raise UserError(
            f"expected {what} to give a pair (mean, log_var), got {type(output).__name__}: return "
            "both"
        )
    for name, value in zip(("mean", "log_var"), output, strict=True):
        _modules.check_shape(f"the {name} of {what}", value, (size,), RESIZE)


def sample_from_prior(
    decode: DecodeFunction,
    latent_size: int,
    num_classes: int,
    variables: PyTree,
    num_samples: int,
    key: Array,
    labels: Labels,
) -> Array:
    """decode(variables, z), z ~ N(0, I)."""
    if num_classes and labels is None:
        key, labels_key = jax.random.split(key)
        labels = jax.random.randint(labels_key, (num_samples,), 0, num_classes)
    latents = jax.random.normal(key, (num_samples, latent_size), _modules.dtype_of(variables))
    return decode(variables, latents, labels=labels)


def _derived_latent_size(
    encoder: nn.Module, image_shape: tuple[int, int, int], num_classes: int
) -> int:
    images, labels = example(image_shape, num_classes)

    def encoded(key: Array) -> Any:
        return _modules.init(encoder, key, images, train=False, **labels)[0]

    output: Any = jax.eval_shape(encoded, jax.eval_shape(lambda: jax.random.key(0)))
    size = output[0].shape[-1] if isinstance(output, tuple) and output[0].ndim else 0
    check_gaussian("the encoder", output, size)
    return size
