"""The results that are reproduced: one row for each configuration, in the order of priority."""

from typing import NamedTuple

ANIMALS = "folder:"  # a row's data set that is the folder given by --animals
# An archive of binarized_mnist whose training images are those of train and validation.
JOINED = "npz:binarized_mnist_60000.npz"


class Published(NamedTuple):
    """A published number.

    Attributes:
      what: what it measures.
      value: the number as it is published.
      source: who published it.
    """

    what: str
    value: str
    source: str


class Row(NamedTuple):
    """One configuration, trained with one or more seeds and evaluated.

    Attributes:
      name: of the row, and of the folder of its runs.
      system: what `jaxgen train` is asked for.
      num_epochs: the published length.
      seeds: one run for each.
      measure: the table that the row is in: "bound", "likelihood" or "quality".
      dataset: what `--dataset` is.
      flags: further words of the command line.
      num_samples: K of the likelihood; several for several evaluations, none for the default.
      binarization: of the pixels, in words.
      published: numbers to stand beside the row's.
      twin: whether the PyTorch twin of the system is trained in place of it.
      precision: of matrix products, as JAX_DEFAULT_MATMUL_PRECISION: "highest" is float32 on a GPU
        too, so that its numbers stand beside those of a CPU.
    """

    name: str
    system: str
    num_epochs: int
    seeds: tuple[int, ...]
    measure: str
    dataset: str = "mnist"
    flags: tuple[str, ...] = ()
    num_samples: tuple[int, ...] = ()
    binarization: str = "none (grey pixels)"
    published: tuple[Published, ...] = ()
    twin: bool = False
    precision: str = "highest"


THREE = (0, 1, 2)
FLOWERS = "tfds:oxford_flowers102"
BURDA = "Burda et al., arXiv:1509.00519, table 1"
ORIGINAL = "the PyTorch original"
STATIC_VAES = "VAEs of this size on this set"
DYNAMIC = "dynamic (drawn again each epoch)"
THRESHOLD = "threshold at 0.5"
STATIC = "static (Larochelle's set)"

ROWS = (
    # 1: dense VAEs at their published budgets.
    Row(
        "vae_mnist",
        "vae_mnist",
        15,
        THREE,
        "bound",
        published=(Published("train loss", "103.9", ORIGINAL),),
    ),
    Row(
        "vae_binarized_mnist",
        "vae_binarized_mnist",
        20,
        THREE,
        "likelihood",
        binarization=THRESHOLD,
        published=(Published("train negative ELBO", "85.0", ORIGINAL),),
    ),
    Row("vae_batchnorm_mnist", "vae_batchnorm_mnist", 10, THREE, "bound"),
    Row("cvae_mnist", "cvae_mnist", 15, THREE, "bound"),
    # 2: the static binarization.
    Row(
        "static_400_40",
        "vae_mnist",
        500,
        (0,),
        "likelihood",
        "binarized_mnist",
        ("--hidden-sizes", "400", "--latent-size", "40", "--binarization", "threshold"),
        (5000, 200),
        STATIC,
        (
            Published(
                "negative log-likelihood, 200 samples",
                "89.78 to 89.9",
                "784-400-40 VAEs, 500 epochs",
            ),
        ),
    ),
    Row(
        "static_400_40_60000",
        "vae_mnist",
        500,
        (0,),
        "likelihood",
        JOINED,
        ("--hidden-sizes", "400", "--latent-size", "40", "--binarization", "threshold"),
        (5000, 200),
        f"{STATIC}, trained on its train and validation images",
        (
            Published(
                "negative log-likelihood, 200 samples",
                "89.78 to 89.9",
                "784-400-40 VAEs, 500 epochs",
            ),
        ),
    ),
    Row(
        "static_500_20",
        "vae_mnist",
        10,
        (0,),
        "likelihood",
        "binarized_mnist",
        ("--hidden-sizes", "500", "--latent-size", "20", "--binarization", "threshold"),
        binarization=STATIC,
        published=(Published("negative ELBO", "104", STATIC_VAES),),
    ),
    # 3: sample quality.
    Row("wgan_mnist", "wgan_mnist", 200, THREE, "quality"),
    Row("wgan_gp_mnist", "wgan_gp_mnist", 200, (0,), "quality"),
    Row("dcgan_mnist", "dcgan_mnist", 3, (0,), "quality"),
    Row("vae_flowers", "vae_flowers", 500, (0,), "quality", FLOWERS),
    # 4: long runs.
    Row("iwae_mnist", "iwae_mnist", 80, (0,), "likelihood", binarization=DYNAMIC),
    Row("dcgan_flowers", "dcgan_flowers", 300, (0,), "quality", FLOWERS, precision="default"),
    Row("vae_animals", "vae_animals", 100, (0,), "quality", ANIMALS, precision="default"),
    # 6: the same budgets in PyTorch, through the same evaluation.
    Row("wgan_mnist_torch", "wgan_mnist", 200, THREE, "quality", twin=True),
    Row("dcgan_mnist_torch", "dcgan_mnist", 3, (0,), "quality", twin=True),
    # 5: as much of 3,280 epochs as the time allows.
    Row(
        "burda_vae",
        "iwae_mnist",
        3280,
        (0,),
        "likelihood",
        flags=("--num-samples", "1", "--bound", "elbo"),
        binarization=DYNAMIC,
        published=(Published("negative log-likelihood", "86.76", BURDA),),
    ),
    Row(
        "burda_iwae_50",
        "iwae_mnist",
        3280,
        (0,),
        "likelihood",
        binarization=DYNAMIC,
        published=(Published("negative log-likelihood", "84.78", BURDA),),
    ),
    Row(
        "burda_iwae_50_two_layers",
        "iwae_mnist",
        3280,
        (0,),
        "likelihood",
        flags=("--stochastic-layers", "2"),
        binarization=DYNAMIC,
        published=(Published("negative log-likelihood", "82.90", BURDA),),
    ),
)


def chosen(names: list[str] | None) -> list[Row]:
    """The rows of these names, all where there are none, in the order of priority.

    Raises:
      SystemExit: for a name that no row has.
    """
    known = [row.name for row in ROWS]
    if unknown := sorted(set(names or ()) - set(known)):
        raise SystemExit(f"expected --rows among {', '.join(known)}; got {', '.join(unknown)}")
    return [row for row in ROWS if not names or row.name in names]
