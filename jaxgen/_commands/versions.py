"""`jaxgen versions`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Versions:
    """Prints what a report of an error needs: versions of Python and packages, the platform."""

    def run(self) -> None:
        """Prints one line each."""
        import jaxgen

        for name, version in jaxgen.versions().items():
            print(f"{name:10} {version}")
