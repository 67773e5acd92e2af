"""XLA's options for programs of convolutions: oneDNN's kernels, on CPUs whose jaxlib has them.

The wheels of jaxlib contain oneDNN. From 0.12 on XLA can replace products and convolutions by calls
of it, in the programs that ask for it. Measured on two cores of an Intel Xeon (AMX), medians of
nine interleaved turns and their range: with the calls a step of vae_flowers is 1.09 (1.05 to 1.23)
times as fast, and 1.18 (0.85 to 1.40) times without XLA's own fusions; one of dcgan_mnist is 1.04
(1.02 to 1.10) and 0.80 (0.75 to 0.88) times. One of vae_animals takes 1.05 times as long with both
options, and dense systems are slower with either. A program with options cannot be called inside
another one, nor be divided among devices by XLA's partitioner. JAXGEN_ONEDNN=0 turns them off.
"""

import jax
import jaxlib.version

from jaxgen.convolutions import onednn

Options = dict[str, bool | str]

OLDEST = (0, 12)
ONEDNN: Options = {"xla_cpu_experimental_onednn_custom_call": True}
WITHOUT_FUSIONS: Options = {**ONEDNN, "xla_cpu_experimental_ynn_fusion_type": ""}


def for_small_images() -> Options | None:
    """For few channels and small images, as of vae_flowers; None where there is nothing to gain."""
    return WITHOUT_FUSIONS if _available() else None


def for_wide_layers() -> Options | None:
    """For hundreds of channels, as of dcgan_mnist; None where there is nothing to gain."""
    return ONEDNN if _available() else None


def _available() -> bool:
    version = tuple(int(part) for part in jaxlib.version.__version__.split(".")[:2])
    found = version >= OLDEST and onednn.is_contained() and onednn.enabled()
    if not (found and jax.default_backend() == "cpu"):
        return False
    onednn.ignore_cache_warnings()
    return True
