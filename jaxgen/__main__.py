"""`python -m jaxgen COMMAND`, the same as `jaxgen COMMAND`."""

from jaxgen._commands import main

if __name__ == "__main__":
    main()
