"""`python -m jaxgen.interop`: the same as `jaxgen convert`."""

import sys

from jaxgen._commands.convert import main
from jaxgen._process import command

if __name__ == "__main__":
    command(lambda: main(sys.argv[1:]))
