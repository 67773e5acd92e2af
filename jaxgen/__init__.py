"""Generative image models as pure functions in JAX."""
