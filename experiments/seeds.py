"""One system under many seeds, trained as one program: mean, standard deviation, curves with bands.

    python experiments/seeds.py vae_mnist --num-seeds 4

Every flag of the system's script is taken. With --evaluate each member is evaluated as by
`jaxgen evaluate`, and a table gives mean and standard deviation.
"""

import sys

from jaxgen import runs, systems
from jaxgen.errors import UserError


def main() -> None:
    """Trains the members, and draws what they have in common."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        return print(__doc__)
    if name not in systems.__all__:
        raise UserError(f"expected a system, one of {', '.join(systems.__all__)}, got {name}")
    runs.train_population(getattr(systems, name), args=words, prog=f"seeds.py {name}")


if __name__ == "__main__":
    runs.command(main)
