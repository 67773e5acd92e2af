"""Where data come from and where decoded arrays are kept: downloads, cache, fingerprints."""
